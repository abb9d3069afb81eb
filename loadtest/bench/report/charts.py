"""Charts of a run, as SVG that does not differ between runs with equal numbers."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from loadtest.bench.parts.part import Chart
from loadtest.bench.parts.table import PARTS
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.curves import CurveChart
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.tables import number

DROPGATE, OTHER = "#1b7f5c", "#8a94a6"
CURVES = ("#1b7f5c", "#c2571a", "#3b6fb6", "#8a5bb0", "#7a7f87", "#b08c1a")
MARKS = "osD^vP"
NEXT_SIZE = 1.5  # times the size before, or their names overlap
RATIOS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
mpl.rcParams["svg.hashsalt"] = "dropgate"  # element ids that do not change from run to run
mpl.rcParams["font.size"] = 9


def _bars(chart: BarChart) -> Figure:
    label_lines = 1 + max(label.count("\n") for label, _ in chart.bars)
    inches_of_bar = 0.31 + 0.07 * label_lines
    figure = Figure(figsize=(9, inches_of_bar * len(chart.bars) + 1))
    axes = figure.add_subplot()
    summaries = [summary for _, summary in chart.bars]
    values = [summary.median for summary in summaries]
    below = [summary.median - summary.least for summary in summaries]
    above = [summary.most - summary.median for summary in summaries]
    colours = [DROPGATE if "dropgate" in s.contestant else OTHER for s in summaries]
    places = range(len(values))
    axes.barh(places, values, xerr=[below, above], color=colours, ecolor="#333333", capsize=2)
    axes.set_yticks(places, [label for label, _ in chart.bars])
    axes.invert_yaxis()
    axes.set_xlabel("answers a second, median and spread")
    axes.set_title(chart.title, loc="left")
    for place, summary in enumerate(summaries):
        label, end = f"{summary.median:,.0f}", (summary.most, place)
        axes.annotate(label, end, va="center", xytext=(6, 0), textcoords="offset points")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(chart: CurveChart) -> Figure:
    figure = Figure(figsize=(9, 4.2))
    axes = figure.add_subplot()
    ends = [0.5, 2.0]  # a flat curve is to look flat
    for curve, colour, mark in zip(chart.curves, CURVES, MARKS, strict=False):
        ratios = curve.ratios()
        ends += [value for _, _, least, most in ratios for value in (least, most) if value > 0]
        first, last = curve.points[0][1].median, curve.points[-1][1].median
        axes.errorbar(
            [size for size, *_ in ratios], [median for _, median, _, _ in ratios],
            yerr=[
                [median - least for _, median, least, _ in ratios],
                [most - median for _, median, _, most in ratios],
            ],
            label=f"{curve.label}: {number(first)} to {number(last)} {curve.unit}",
            color=colour, marker=mark, markersize=5, linewidth=1.6, capsize=2, elinewidth=0.8,
        )  # fmt: skip
    _scale_curves(axes, sorted({n for one in chart.curves for n, _ in one.points}), ends)
    axes.set_xlabel(chart.sizes)
    axes.set_ylabel("times the smallest size")
    axes.set_title(chart.title, loc="left")
    axes.grid(axis="y", linewidth=0.4, color="#d5d9e0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _scale_curves(axes: Axes, sizes: list[int], ends: list[float]) -> None:
    """Both axes by factors: ten times the size and twice the cost are as far everywhere."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(min(ends) / 1.1, max(ends) * 1.1)
    shown: list[int] = []
    for size in sizes:
        if not shown or size >= NEXT_SIZE * shown[-1]:
            shown.append(size)
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    marks = [ratio for ratio in RATIOS if min(ends) <= ratio <= max(ends)]
    axes.set_yticks(marks, [f"{ratio:g} x" for ratio in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


def _figure(chart: Chart) -> Figure:
    return _bars(chart) if isinstance(chart, BarChart) else _curves(chart)


def draw_charts(results: Results, folder: Path) -> list[Path]:
    """Draw the charts of every part that was measured; returns their files."""
    made = []
    for chart in (chart for part in PARTS for chart in part.charts(results)):
        path = folder / chart.file_name
        _figure(chart).savefig(path, metadata={"Date": None}, bbox_inches="tight")
        made.append(path)
    return made
