"""The rows of the design's table of numbers: what was asked for, and what was reached."""

import msgspec

from loadtest.bench.results.measurements import Results

TIMES = " x"  # the unit of a ratio


class Row(msgspec.Struct, frozen=True):
    """`reached` is None where this run did not measure it; `at_least`: larger is better."""

    what: str
    against: str
    target: float
    unit: str
    reached: float | None
    note: str = ""
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where it was not measured."""
        if self.reached is None:
            return None
        return self.reached >= self.target if self.at_least else self.reached <= self.target

    @property
    def verdict(self) -> str:
        """`met`, or by how much it is missed; a row without a target only compares."""
        if self.reached is None or self.met is None:
            return "not measured"
        if not self.target:
            return "for comparison"
        if self.met:
            return "met"
        return f"missed by {abs(self.reached - self.target) / self.target:.0%}"


def paired_ratio(
    results: Results, part: str, over: tuple[str, str, str], under: tuple[str, str, str]
) -> tuple[float, float, float] | None:
    """Median, least and most over the rounds of one number divided by another of the same round.

    Rounds are paired so that what slows the whole machine for a while slows both. `over` and
    `under` are (contestant, setting, metric).
    """
    by_round: list[dict[int, float]] = [{}, {}]
    for one in results.measurements:
        for place, wanted in enumerate((over, under)):
            if one.part == part and (one.contestant, one.setting, one.metric) == wanted:
                by_round[place][one.round] = one.value
    shares = sorted(
        value / by_round[1][number]
        for number, value in by_round[0].items()
        if by_round[1].get(number, 0) > 0
    )
    if not shares:
        return None
    middle = len(shares) // 2
    median = shares[middle] if len(shares) % 2 else (shares[middle - 1] + shares[middle]) / 2
    return median, shares[0], shares[-1]
