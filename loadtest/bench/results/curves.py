"""Curves of the report, before they are drawn: cost against size, as ratios to the smallest size.

Ratios within one run tell how a cost grows also where machines differ by a factor of four.
"""

from dataclasses import dataclass

from loadtest.bench.results.measurements import Results, Summary


@dataclass(frozen=True, slots=True)
class Source:
    """Where a curve's points are: the numbers of one metric, a setting for each size."""

    label: str
    part: str
    contestant: str
    metric: str
    unit: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one cost, by size; at least two, and the smallest costs something."""

    label: str
    unit: str
    points: tuple[tuple[int, Summary], ...]

    def ratios(self) -> list[tuple[int, float, float, float]]:
        """(size, median, least, most) of each point over the median of the smallest size."""
        base = self.points[0][1].median
        return [(n, s.median / base, s.least / base, s.most / base) for n, s in self.points]


@dataclass(frozen=True, slots=True)
class CurveChart:
    """Curves over one axis of sizes; `file_name` is in the folder of the results."""

    file_name: str
    title: str
    sizes: str  # what the sizes count
    curves: tuple[Curve, ...]


def size_of(setting: str) -> int | None:
    """The size at the start of a setting's name, as in `1,000 SKUs`; None where there is none."""
    first = setting.partition(" ")[0].replace(",", "")
    return int(first) if first.isdigit() else None


def sizes_of(results: Results, source: Source) -> list[tuple[int, Summary]]:
    """What was measured of this source, the smallest size first."""
    found = [
        (size, one)
        for one in results.summaries()
        if (one.part, one.contestant, one.metric) == (source.part, source.contestant, source.metric)
        and (size := size_of(one.setting)) is not None
    ]
    return sorted(found, key=lambda point: point[0])


def curve_of(results: Results, source: Source) -> Curve | None:
    """The curve of this source; None where it has fewer than two points or starts at nothing."""
    points = sizes_of(results, source)
    if len(points) < 2 or points[0][1].median <= 0:
        return None
    return Curve(source.label, source.unit, tuple(points))


def curve_chart(
    results: Results, file_name: str, title: str, sizes: str, sources: tuple[Source, ...]
) -> list[CurveChart]:
    """The chart of everything among these sources that was measured; none where nothing was."""
    found = [curve_of(results, source) for source in sources]
    curves = tuple(curve for curve in found if curve is not None)
    return [CurveChart(file_name, title, sizes, curves)] if curves else []
