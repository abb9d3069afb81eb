"""Charts of a run, as SVG that does not differ between runs with equal numbers."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.bench.parts.table import PARTS
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.measurements import Results

DROPGATE, OTHER = "#1b7f5c", "#8a94a6"
mpl.rcParams["svg.hashsalt"] = "dropgate"  # element ids that do not change from run to run
mpl.rcParams["font.size"] = 9


def _figure(chart: BarChart) -> Figure:
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


def draw_charts(results: Results, folder: Path) -> list[Path]:
    """Draw the charts of every part that was measured; returns their files."""
    made = []
    for chart in (chart for part in PARTS for chart in part.charts(results)):
        path = folder / chart.file_name
        _figure(chart).savefig(path, metadata={"Date": None}, bbox_inches="tight")
        made.append(path)
    return made
