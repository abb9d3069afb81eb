"""A chart of the report, before it is drawn."""

from dataclasses import dataclass

from loadtest.bench.results.measurements import Summary


@dataclass(frozen=True, slots=True)
class BarChart:
    """A bar for the median of each summary, with a whisker from the least to the most.

    `file_name` is where it is drawn, in the folder of the results.
    """

    file_name: str
    title: str
    bars: tuple[tuple[str, Summary], ...]  # label and numbers, from top to bottom
