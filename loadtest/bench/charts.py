"""Charts of a run, as SVG that is the same for the same numbers."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.bench.contestants import TITLES
from loadtest.bench.engine.rates import MODES, SIZES
from loadtest.bench.measurements import Results, Summary

DROPGATE, OTHER = "#1b7f5c", "#8a94a6"
mpl.rcParams["svg.hashsalt"] = "dropgate"  # element ids that do not change from run to run
mpl.rcParams["font.size"] = 9


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    return path


def _bars(figure: Figure, summaries: Sequence[Summary], title: str, names: Sequence[str]) -> None:
    axes = figure.add_subplot()
    values = [summary.median for summary in summaries]
    below = [summary.median - summary.least for summary in summaries]
    above = [summary.most - summary.median for summary in summaries]
    colours = [DROPGATE if "dropgate" in s.contestant else OTHER for s in summaries]
    places = range(len(values))
    axes.barh(places, values, xerr=[below, above], color=colours, ecolor="#333333", capsize=2)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("answers a second, median and spread")
    axes.set_title(title, loc="left")
    for place, summary in enumerate(summaries):
        label, end = f"{summary.median:,.0f}", (summary.most, place)
        axes.annotate(label, end, va="center", xytext=(6, 0), textcoords="offset points")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def draw_charts(results: Results, folder: Path) -> list[Path]:
    """One chart for each number of buyers, one of the engine; only what was measured."""
    made = []
    rates = [s for s in results.summaries() if s.metric == "per_second" and s.part == "http"]
    for setting in dict.fromkeys(summary.setting for summary in rates):
        own = [s for s in rates if s.setting == setting]
        own.sort(key=lambda summary: -summary.median)
        figure = Figure(figsize=(9, 0.38 * len(own) + 1))
        title = f"Reservations over HTTP, {setting} of one SKU"
        _bars(figure, own, title, [TITLES[s.contestant] for s in own])
        made.append(_save(figure, folder / f"http_{setting.replace(' ', '_')}.svg"))
    names = ["one by one, pipelined", *(f"batch of {size}" for size in SIZES[1:])]
    engine = [
        (f"{name}\nappendfsync {mode}", found)
        for name in names
        for mode in MODES
        if (found := results.find("engine", name, mode, "per_second")) is not None
    ]
    if engine:
        figure = Figure(figsize=(9, 0.45 * len(engine) + 1))
        title = "Reserves in Redis alone, one core"
        _bars(figure, [found for _, found in engine], title, [name for name, _ in engine])
        made.append(_save(figure, folder / "engine.svg"))
    return made
