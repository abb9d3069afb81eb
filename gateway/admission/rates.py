"""How often somebody may ask: GCRA, in the memory of one worker, in a table of fixed size.

GCRA keeps one number for each caller: when all that was asked so far would be paid for at the
allowed rate. A table of all callers could be filled by one, so there is none: a caller has a slot
in each of two rows, chosen by a hash with a secret of the process, and shares it with others. A
slot is never behind any caller's own number, and the caller is judged by the better of its two. So
nobody gets more than the limit, nothing is ever evicted, and who shares one slot with a busy caller
does not feel it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import ceil

SLOTS = 65_536
# Far below any wait that means something: sums of floats are not exact.
_EPSILON_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a second, and so many at once after a pause; `name` is told to callers."""

    name: str
    per_second: float
    burst: int

    def share(self, workers: int) -> Rate:
        """What one of so many workers may let through."""
        return Rate(self.name, self.per_second / workers, max(1, ceil(self.burst / workers)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Too often: by which rate, and in how many seconds one more is allowed."""

    rate: Rate
    wait_seconds: float


class Shares:
    """One rate for many callers; see the module."""

    def __init__(self, rate: Rate, slots: int = SLOTS) -> None:
        """`slots` is a power of two; 1 for a rate that all share."""
        self.rate = rate
        self._interval = 1.0 / rate.per_second
        self._window = rate.burst * self._interval + _EPSILON_SECONDS
        self._mask = slots - 1
        self._first = array("d", bytes(8 * slots))
        self._second = array("d", bytes(8 * slots))

    def wait(self, caller: str, now: float) -> float:
        """Seconds until the caller may ask; 0 for now. Takes nothing."""
        paid = self._paid(caller)
        wait = (max(now, paid)) + self._interval - now - self._window
        return max(0.0, wait)

    def take(self, caller: str, now: float) -> None:
        """The caller asks; `now` never runs backwards."""
        number = hash(caller)
        one, two = number & self._mask, number >> 32 & self._mask
        paid = min(self._first[one], self._second[two])
        paid = (max(now, paid)) + self._interval
        self._first[one] = max(self._first[one], paid)
        self._second[two] = max(self._second[two], paid)

    def _paid(self, caller: str) -> float:
        number = hash(caller)
        return min(self._first[number & self._mask], self._second[number >> 32 & self._mask])
