"""Numbers of single rounds, and their medians and spreads over the rounds."""

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from loadtest.bench.results.verdicts import Verdict


class Measurement(msgspec.Struct, frozen=True):
    """One number. `setting` names the run of a contestant, e.g. `64 buyers`."""

    part: str
    contestant: str
    setting: str
    round: int
    metric: str  # ends in its unit
    value: float


class Summary(msgspec.Struct, frozen=True):
    """The rounds of one (part, contestant, setting, metric)."""

    part: str
    contestant: str
    setting: str
    metric: str
    rounds: int
    median: float
    least: float
    most: float


def summarize(measurements: Iterable[Measurement]) -> list[Summary]:
    """Group the rounds, in the order in which the groups first appeared."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for one in measurements:
        group = (one.part, one.contestant, one.setting, one.metric)
        groups.setdefault(group, []).append(one.value)
    return [
        Summary(*group, len(values), median(values), min(values), max(values))
        for group, values in groups.items()
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Results:
    """Everything a run has measured and judged so far."""

    def __init__(self) -> None:
        """Start empty."""
        self.measurements: list[Measurement] = []
        self.verdicts: list[Verdict] = []

    def add(
        self, part: str, contestant: str, setting: str, round_number: int, **values: float
    ) -> None:
        """Add the numbers of one run; the names of the arguments are the metrics."""
        for metric, value in values.items():
            self.measurements.append(
                Measurement(part, contestant, setting, round_number, metric, value)
            )

    def summaries(self) -> list[Summary]:
        """Medians and spreads."""
        return summarize(self.measurements)

    def find(self, part: str, contestant: str, setting: str, metric: str) -> Summary | None:
        """The summary of one group, or None where it was not measured."""
        for summary in self.summaries():
            named = (summary.part, summary.contestant, summary.setting, summary.metric)
            if named == (part, contestant, setting, metric):
                return summary
        return None
