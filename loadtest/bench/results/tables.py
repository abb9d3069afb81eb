"""Tables of the report: how measurements become lines of text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from loadtest.bench.results.measurements import Results, Summary


class Grid(msgspec.Struct, frozen=True):
    """A table that is ready to be shown, on the terminal or in Markdown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Lines(NamedTuple):
    """The head and the lines of a table; no lines where this run measured nothing for it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a part: its title, and what makes its lines of the results."""

    title: str
    fill: Callable[[Results], Lines]

    def grid(self, results: Results) -> Grid | None:
        """The filled table; None where this run measured nothing for it."""
        lines = self.fill(results)
        return Grid(self.title, lines.head, lines.rows) if lines.rows else None


def number(value: float) -> str:
    """The value with as many digits as say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(summary: Summary) -> str:
    """The median; in brackets the least and the most, where there was more than one round."""
    if summary.rounds < 2:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.least)} to {number(summary.most)})"


def metric_title(metric: str) -> str:
    """The name of a metric as a table shows it: `p99_ms` is `p99 ms`."""
    return metric.replace("_per_second", "/s").replace("per_second", "/s").replace("_", " ")


def lines_of_contestants(
    own: Sequence[Summary], metrics: Sequence[str], titles: Mapping[str, str]
) -> Lines:
    """A line for each contestant and setting, in the order of the summaries; a column a metric."""
    cells = {(s.contestant, s.setting, s.metric): spread(s) for s in own}
    lines = dict.fromkeys((s.contestant, s.setting) for s in own)
    rows = tuple(
        (
            titles.get(contestant, contestant),
            setting,
            *(cells.get((contestant, setting, metric), "") for metric in metrics),
        )
        for contestant, setting in lines
    )
    return Lines(("contestant", "setting", *map(metric_title, metrics)), rows)


def by_contestant(part: str) -> Callable[[Results], Lines]:
    """Everything measured under this part's name: a line for each contestant and setting."""

    def fill(results: Results) -> Lines:
        own = [s for s in results.summaries() if s.part == part]
        return lines_of_contestants(own, list(dict.fromkeys(s.metric for s in own)), {})

    return fill


def by_metric(part: str) -> Callable[[Results], Lines]:
    """For single runs with many numbers: a line for each metric, a column for each run."""

    def fill(results: Results) -> Lines:
        own = [s for s in results.summaries() if s.part == part]
        settings = list(dict.fromkeys(s.setting for s in own))
        cells = {(s.setting, s.metric): spread(s) for s in own}
        rows = tuple(
            (metric_title(metric), *(cells.get((setting, metric), "") for setting in settings))
            for metric in dict.fromkeys(s.metric for s in own)
        )
        return Lines(("figure", *settings), rows)

    return fill
