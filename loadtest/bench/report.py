"""What is printed and written down: tables, JSON lines, one Markdown page."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.bench.contestants import TITLES
from loadtest.bench.facts import Facts
from loadtest.bench.measurements import Results, Summary
from loadtest.bench.ratios import Row
from loadtest.bench.verdicts import Verdict

HTTP_METRICS = ("per_second", "ledger_per_second", "p50_ms", "p99_ms", "server_cpu_us")
TITLE_OF_PART = {
    "http": "Over HTTP: accepted (or refused, where sold out) answers a second",
    "engine": "The scripts alone, one Redis core",
    "memory": "Redis memory",
    "holds": "One more reserve beside many live holds",
    "storm": "All holds come due at once",
    "ledger": "From the answer to the row in the ledger",
    "rebuild": "Redis emptied, and rebuilt from the ledger",
    "headline": "The headline: 10,000 units, 500,000 buyers",
    "overload": "Ten times as much as a worker can do",
    "waiting": "A million buyers in the waiting room, over HTTP",
    "waiting_room": "A waiting room of a million, one Redis core",
}

ONE_RUN_PARTS = ("headline", "waiting")


class Grid(msgspec.Struct, frozen=True):
    """A table, wherever it is shown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float) -> str:
    """As many digits as tell something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(summary: Summary) -> str:
    """Median, and the least and the most where there was more than one round."""
    if summary.rounds < 2:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.least)} to {number(summary.most)})"


def ratio_grid(rows: Sequence[Row]) -> Grid:
    """Targets and what was reached."""
    lines = [
        (
            row.what,
            row.against,
            f"{'at least' if row.at_least else 'at most'} {row.target:,g}{row.unit}"
            if row.target
            else "",
            "" if row.reached is None else number(row.reached) + row.unit,
            row.note,
            row.verdict,
        )
        for row in rows
    ]
    head = ("what", "against", "target", "reached", "spread or note", "verdict")
    return Grid("Numbers to reach", head, tuple(lines))


def verdict_grid(verdicts: Sequence[Verdict]) -> Grid:
    """Who is right."""
    lines = [
        (TITLES[v.contestant], v.setting, f"{v.promised} of {v.stock}", v.text) for v in verdicts
    ]
    head = ("contestant", "what happened to it", "units promised", "verdict")
    return Grid("Right, not only fast: 200 units, 600 buyers", head, tuple(lines))


def _lines_of(summaries: Sequence[Summary]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((s.contestant, s.setting) for s in summaries))


def part_grid(part: str, summaries: Sequence[Summary]) -> Grid:
    """One part: a line for each contestant and setting, a column for each metric."""
    own = [s for s in summaries if s.part == part]
    metrics = list(dict.fromkeys(s.metric for s in own))
    if part == "http":
        metrics = [metric for metric in HTTP_METRICS if metric in metrics]
    cells = {(s.contestant, s.setting, s.metric): spread(s) for s in own}
    lines = _lines_of(own)
    if part == "http":
        order = list(TITLES)
        lines.sort(key=lambda line: (int(line[1].split()[0]), order.index(line[0])))
    rows = tuple(
        (
            TITLES.get(contestant, contestant),
            setting,
            *(cells.get((contestant, setting, metric), "") for metric in metrics),
        )
        for contestant, setting in lines
    )
    heads = tuple(_metric_title(metric) for metric in metrics)
    return Grid(TITLE_OF_PART[part], ("contestant", "setting", *heads), rows)


def one_run_grid(part: str, summaries: Sequence[Summary]) -> Grid:
    """A part of single runs with many numbers each: a line for each number, a column for a run."""
    own = [s for s in summaries if s.part == part]
    settings = list(dict.fromkeys(s.setting for s in own))
    cells = {(s.setting, s.metric): spread(s) for s in own}
    rows = tuple(
        (_metric_title(metric), *(cells.get((setting, metric), "") for setting in settings))
        for metric in dict.fromkeys(s.metric for s in own)
    )
    return Grid(TITLE_OF_PART[part], ("", *settings), rows)


def _metric_title(metric: str) -> str:
    return metric.replace("_per_second", "/s").replace("per_second", "/s").replace("_", " ")


def all_grids(results: Results, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> list[Grid]:
    """Everything measured, the targets last."""
    summaries = results.summaries()
    measured = {summary.part for summary in summaries}
    grids = [
        one_run_grid(part, summaries) if part in ONE_RUN_PARTS else part_grid(part, summaries)
        for part in TITLE_OF_PART
        if part in measured
    ]
    if verdicts:
        grids.append(verdict_grid(verdicts))
    return [*grids, ratio_grid(rows)]


def print_grids(console: Console, facts: Facts, grids: Sequence[Grid]) -> None:
    """On the terminal; where there is none, wide enough not to fold."""
    console.print("\n".join(facts_lines(facts)), soft_wrap=True)
    for grid in grids:
        table = Table(title=grid.title, title_justify="left")
        for position, name in enumerate(grid.head):
            table.add_column(name, overflow="fold", justify="left" if position < 2 else "right")
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)


def facts_lines(facts: Facts) -> list[str]:
    """`name: value`, one a line."""
    return [f"{name}: {value}" for name, value in msgspec.structs.asdict(facts).items()]


def markdown(facts: Facts, command: str, grids: Sequence[Grid], charts: Sequence[Path]) -> str:
    """The page that a run leaves."""
    lines = [
        "# Results of the last run",
        "",
        f"Made by `{command}`. How to read it: README.md.",
        "",
    ]
    lines += [f"- {line}" for line in facts_lines(facts)]
    for grid in reversed(grids):
        lines += ["", f"## {grid.title}", "", _markdown_row(grid.head)]
        lines.append("|" + "---|" * len(grid.head))
        lines += [_markdown_row(row) for row in grid.rows]
    for chart in charts:
        lines += ["", f"![{chart.stem.replace('_', ' ')}]({chart.name})"]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def json_lines(
    facts: Facts, results: Results, rows: Sequence[Row], verdicts: Sequence[Verdict]
) -> bytes:
    """One object a line, each with its `kind`; every round, not only the medians."""
    lines: list[dict[str, object]] = [{"kind": "facts", **msgspec.structs.asdict(facts)}]
    for kind, structs in (
        ("measurement", results.measurements),
        ("verdict", verdicts),
        ("target", rows),
    ):
        lines += [{"kind": kind, **msgspec.structs.asdict(one)} for one in structs]
    return msgspec.json.Encoder().encode_lines(lines)
