"""A run's charts as SVG that stands inside the page and takes its colours, light or dark.

Every colour is drawn as a stand-in and then named as a variable of the page's style, so that one
drawing serves both.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.client.history import NO_ANSWER
from loadtest.report.record import Record, Sample
from loadtest.report.series import Series, percentile, sent_ms, waited_ms

# Stand-in → variable.
VARIABLES = {
    "#00fe01": "ink",
    "#00fe02": "line",
    "#00fe03": "good",
    "#00fe04": "deep",
    "#00fe05": "calm",
    "#00fe06": "warm",
    "#00fe07": "hot",
    "#00fe08": "bad",
    "#00fe09": "lost",
}
PAINT = {name: stand_in for stand_in, name in VARIABLES.items()}
OUTCOME_PAINT = {
    "accepted": "good",
    "replayed": "deep",
    "sold_out": "calm",
    "limit_exceeded": "warm",
    "rate_limited": "hot",
    "not_admitted": "hot",
    "unauthenticated": "lost",
    "overloaded": "bad",
    "recovering": "bad",
    "no answer": "lost",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dropgate",
    "font.size": 10,
    "axes.edgecolor": PAINT["line"],
    "axes.labelcolor": PAINT["ink"],
    "xtick.color": PAINT["ink"],
    "ytick.color": PAINT["ink"],
    "text.color": PAINT["ink"],
    "grid.color": PAINT["line"],
    "legend.frameon": False,
    "legend.fontsize": 9,
}


class Chart:
    """One drawing; title and caption speak to readers who cannot see it."""

    def __init__(self, title: str, caption: str, svg: str) -> None:
        """`svg` is an element that stands inside a page."""
        self.title, self.caption, self.svg = title, caption, svg


def _svg(draw: Callable[[Axes], None], x_label: str, y_label: str) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.9))
        axes = figure.add_subplot()
        draw(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(axis="y", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(loc="upper left", bbox_to_anchor=(0, 1.17), ncols=6, columnspacing=1.2)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    return _inline(buffer.getvalue())


def _inline(text: str) -> str:
    """The drawing without head, size and fonts of a file; its colours are the page's variables."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--font)", svg)
    for stand_in, name in VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _stacked(
    axes: Axes, x: Sequence[float], rows: Mapping[str, Sequence[float]], paints: Sequence[str]
) -> None:
    colours = [PAINT[paint] for paint in paints]
    axes.stackplot(x, *rows.values(), labels=list(rows), colors=colours, linewidth=0, step="post")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(bottom=0)


def _flow(series: Series) -> Chart:
    def draw(axes: Axes) -> None:
        x = series.at_seconds
        lines = {
            "arrived": (series.arrivals, "ink", 1.0),
            "admitted": (series.admitted, "warm", 1.6),
            "accepted": (series.accepted, "good", 2.0),
            "paid": (series.paid, "deep", 1.6),
        }
        for name, (values, paint, width) in lines.items():
            if any(values):
                axes.plot(x, values, label=name, color=PAINT[paint], linewidth=width)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(bottom=0)

    caption = "Buyers who came, got in, got a hold, and paid, in each second."
    return Chart("From the door to the till", caption, _svg(draw, "seconds", "a second"))


def _answers(series: Series) -> Chart:
    def draw(axes: Axes) -> None:
        paints = [OUTCOME_PAINT.get(name, "lost") for name in series.answers]
        _stacked(axes, series.at_seconds, dict(series.answers), paints)

    caption = "How each reserve was answered. A refusal with a reason is an answer, too."
    return Chart("Answers to reserve", caption, _svg(draw, "seconds", "a second"))


def _latency(series: Series) -> Chart:
    def draw(axes: Axes) -> None:
        looks = {"p50": ("good", "-"), "p99": ("warm", "-"), "p99 from due time": ("bad", ":")}
        for name, values in series.reserve_ms.items():
            paint, style = looks[name]
            shown = [float("nan") if v is None else max(v, 0.1) for v in values]
            axes.plot(
                series.at_seconds, shown, label=name, color=PAINT[paint], linestyle=style,
                linewidth=1.8, marker="o", markersize=2,
            )  # fmt: skip
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_xlim(series.at_seconds[0], series.at_seconds[-1])

    caption = (
        "From sending to the answer; dotted, where arrivals had a timetable, from when the buyer "
        "was due, so that a stalled server cannot hide."
    )
    return Chart("How long reserve takes", caption, _svg(draw, "seconds", "ms"))


def _distribution(record: Record) -> Chart | None:
    answered = [a for a in record.history.of("reserve") if a.status != NO_ANSWER]
    if not answered:
        return None
    scheduled = [a for a in answered if a.scheduled_at]
    rows = {"as sent": (sorted(map(sent_ms, answered)), "good")}
    if scheduled:
        rows["from due time"] = (sorted(map(waited_ms, scheduled)), "bad")
    nines = [1 - 10 ** (-step / 20) for step in range(81)]

    def draw(axes: Axes) -> None:
        for name, (ordered, paint) in rows.items():
            points = [n for n in nines if (1 - n) * len(ordered) >= 1]
            values = [max(percentile(ordered, n), 0.1) for n in points]
            axes.plot(
                [1 / (1 - n) for n in points], values, label=name, color=PAINT[paint], linewidth=2
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(
            [1, 2, 10, 100, 1000, 10_000], ["0", "p50", "p90", "p99", "p99.9", "p99.99"]
        )
        axes.set_xlim(1, max(10.0, len(answered)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()

    caption = "Every reserve of the run: at p99, one in a hundred took longer than this."
    return Chart("The slow ones", caption, _svg(draw, "percentile", "ms"))


def _stock(samples: Sequence[Sample], began_at: float) -> Chart | None:
    if len(samples) < 2:
        return None

    def draw(axes: Axes) -> None:
        x = [s.at - began_at for s in samples]
        rows = {
            "sold": [s.sold for s in samples],
            "held": [s.held for s in samples],
            "available": [s.available for s in samples],
        }
        _stacked(axes, x, rows, ("good", "warm", "calm"))

    caption = "Every unit is available, held or sold at any moment; the sum is what was loaded."
    return Chart("Where the units are", caption, _svg(draw, "seconds", "units"))


def _queue(series: Series) -> Chart | None:
    if not series.waiting:
        return None

    def draw(axes: Axes) -> None:
        x = series.at_seconds
        axes.fill_between(x, series.waiting, label="waiting", color=PAINT["calm"], linewidth=0)
        axes.plot(x, series.inside, label="let in", color=PAINT["warm"], linewidth=2)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(bottom=0)

    caption = "As the answers said: buyers in line, and buyers let in without a hold yet."
    return Chart("The queue", caption, _svg(draw, "seconds", "buyers"))


def draw_charts(record: Record, series: Series) -> list[Chart]:
    """All charts that this run has numbers for."""
    began_at = record.facts.began_at
    charts = [
        _flow(series),
        _answers(series),
        _stock(record.samples, began_at),
        _queue(series),
        _latency(series),
        _distribution(record),
    ]
    return [chart for chart in charts if chart is not None]
