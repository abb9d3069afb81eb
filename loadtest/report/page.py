"""The report: one HTML file with everything in it, to be opened anywhere and sent to anybody."""

import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from loadtest.client.history import NO_ANSWER
from loadtest.figures import accepted_rate
from loadtest.report.charts import Chart, draw_charts
from loadtest.report.record import Record
from loadtest.report.series import SHARES, Call, calls_of, series_of
from loadtest.verdict.finding import Finding, Outcome
from loadtest.verdict.run import Verdict

PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
MARKS = {Outcome.HELD: "✓", Outcome.BROKEN: "✗", Outcome.NOT_JUDGED: "·"}


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def milliseconds(value: float) -> str:
    """The value with three digits."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _finding(finding: Finding) -> str:
    kind, mark = finding.outcome.value, MARKS[finding.outcome]
    examples = "".join(f"<li>{escape(example)}</li>" for example in finding.examples)
    return (
        f'<tr class="{kind}"><td>{finding.invariant}</td><td>{escape(finding.name)}</td>'
        f'<td class="mark">{mark} {kind.replace("_", " ")}</td><td>{escape(finding.detail)}'
        + (f"<ul>{examples}</ul>" if examples else "")
        + "</td></tr>"
    )


def _call(call: Call) -> str:
    times = [milliseconds(value) for value in call.percentiles_ms] or ["·"] * len(SHARES)
    return _row((call.name, f"{call.sent:,}", f"{call.unanswered:,}", *times))


def _tiles(record: Record) -> dict[str, tuple[str, str]]:
    """Name → the number and what stands below it."""
    history = record.history
    buyers = {a.buyer_id for a in history.attempts}
    answered = sum(a.status != NO_ANSWER for a in history.attempts)
    seconds = record.facts.ended_at - record.facts.began_at
    last = record.samples[-1] if record.samples else None
    reserve = next((c for c in calls_of(record) if c.name == "reserve" and c.percentiles_ms), None)
    units = sum((last.available, last.held, last.sold)) if last else 0
    tiles = {
        "buyers": (f"{len(buyers):,}", f"in {seconds:.0f} s"),
        "answered": (f"{answered:,}", f"of {len(history.attempts):,} requests"),
        "holds": (
            f"{len(history.reservations()):,}",
            f"{accepted_rate(history, units):,.0f} a second while there was stock",
        ),
    }
    if last:
        tiles["sold"] = (f"{last.sold:,}", f"of {units:,} units, {last.held:,} still held")
    if reserve:
        p50, _, p99, _ = reserve.percentiles_ms
        tiles["reserve p99"] = (milliseconds(p99), f"p50 {milliseconds(p50)}")
    return tiles


def _chart(chart: Chart) -> str:
    title, caption = escape(chart.title), escape(chart.caption)
    return (
        f'<figure role="group" aria-label="{title}: {caption}"><h3>{title}</h3>{chart.svg}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _settings(settings: dict[str, object], prefix: str = "") -> list[str]:
    rows = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _settings(value, f"{prefix}{name}.")
        else:
            rows.append(_row((f"{prefix}{name}", str(value))))
    return rows


def page(record: Record, verdict: Verdict) -> str:
    """The whole report as HTML."""
    facts, broken = record.facts, _broken(verdict.findings)
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(number)}</b> {escape(below)}</dd></div>"
        for name, (number, below) in _tiles(record).items()
    )
    return PAGE.substitute(
        scenario=escape(facts.scenario),
        about=escape(facts.about),
        sale=escape(facts.sale_id),
        when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(facts.began_at)),
        outcome="held" if verdict.holds else "broken",
        headline="Every promise was kept." if verdict.holds else f"Broken: {escape(broken)}.",
        tiles=tiles,
        charts="".join(_chart(chart) for chart in draw_charts(record, series_of(record))),
        findings="".join(_finding(finding) for finding in verdict.findings),
        calls="".join(_call(call) for call in calls_of(record)),
        settings="".join(_settings(facts.settings)),
    )


def _broken(findings: Sequence[Finding]) -> str:
    return ", ".join(f.name for f in findings if f.outcome is Outcome.BROKEN)
