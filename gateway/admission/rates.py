"""Rate limits by GCRA, in the memory of one worker, in tables of fixed size.

GCRA keeps one number per caller: the instant at which all requests so far are paid for at the
allowed rate. A table of all callers could be filled up by a single attacker, so there is none: a
caller has a slot in each of two rows, chosen by a hash with a secret of the process, and shares the
slots with others. A slot is never behind any of its callers' own numbers, and a caller is judged by
the better of its two slots. So nobody exceeds the limit, nothing is ever evicted, and a caller who
shares one slot with a busy caller does not feel it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import ceil

SLOTS = 65_536
# Rounding tolerance of float sums, far below any wait that matters.
_EPSILON_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` requests, and `burst` at once after a pause; answers show `name` to callers."""

    name: str
    per_second: float
    burst: int

    def share(self, workers: int) -> Rate:
        """The part of the rate that one of `workers` workers may let through."""
        return Rate(self.name, self.per_second / workers, max(1, ceil(self.burst / workers)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request above a limit: the rate, and the seconds until one more request is allowed."""

    rate: Rate
    wait_seconds: float


class Shares:
    """One rate applied to many callers, in two rows of `slots` numbers."""

    def __init__(self, rate: Rate, slots: int = SLOTS) -> None:
        """`slots`: a power of two; 1 for a rate that all callers share."""
        self.rate = rate
        self._interval = 1.0 / rate.per_second
        self._window = rate.burst * self._interval + _EPSILON_SECONDS
        self._mask = slots - 1
        self._first = array("d", bytes(8 * slots))
        self._second = array("d", bytes(8 * slots))

    def wait(self, caller: str, now: float) -> float:
        """Seconds until the caller may make a request, 0 for now. Counts nothing."""
        paid = self._paid(caller)
        wait = (max(now, paid)) + self._interval - now - self._window
        return max(0.0, wait)

    def take(self, caller: str, now: float) -> None:
        """Count a request of the caller; `now` never runs backwards."""
        number = hash(caller)
        one, two = number & self._mask, number >> 32 & self._mask
        paid = min(self._first[one], self._second[two])
        paid = (max(now, paid)) + self._interval
        self._first[one] = max(self._first[one], paid)
        self._second[two] = max(self._second[two], paid)

    def _paid(self, caller: str) -> float:
        number = hash(caller)
        return min(self._first[number & self._mask], self._second[number >> 32 & self._mask])
