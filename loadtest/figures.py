"""Figures of a run: distributions, rates, refusals."""

from collections.abc import Iterable
from typing import Self

import msgspec

from loadtest.client.history import NO_ANSWER, History


class Distribution(msgspec.Struct, frozen=True):
    """Nearest-rank percentiles, in milliseconds; all zero where nothing was measured."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, milliseconds: Iterable[float]) -> Self:
        """The distribution of these values."""
        values = sorted(milliseconds)
        if not values:
            return cls(0, 0.0, 0.0, 0.0)

        def rank(share: float) -> float:
            return values[min(len(values) - 1, int(share * len(values)))]

        return cls(len(values), rank(0.5), rank(0.99), values[-1])


class Figures(msgspec.Struct, frozen=True):
    """The outcome of a drop in numbers.

    `accepted_per_second` is measured while there was stock: from the first accepted answer until
    80 % of the units were accepted. `ledger_lag` runs from Redis' time of a reservation to the
    first look that found the reservation applied, so the lag is never too small.
    """

    buyers: int
    requests: int
    seconds: float
    units: int
    sold: int
    accepted: int
    refused: dict[str, int]
    accepted_per_second: float
    answered_per_second: float
    reserve: Distribution
    ledger_lag: Distribution
    balanced_reconciliations: int


def accepted_rate(history: History, units: int) -> float:
    """Fresh accepted answers per second over the first 80 % of the units."""
    ends = sorted(
        a.started_at + a.seconds for a in history.of("reserve") if a.accepted and not a.replayed
    )[: max(2, int(units * 0.8))]
    if len(ends) < 2 or ends[-1] <= ends[0]:
        return 0.0
    return (len(ends) - 1) / (ends[-1] - ends[0])


def reserve_times(history: History) -> Distribution:
    """How long answered reserves took, as their clients saw it."""
    return Distribution.of(a.seconds * 1000 for a in history.of("reserve") if a.status != NO_ANSWER)
