"""Load shedding: the requests that an overloaded worker refuses, and their order.

Browsing is refused first, then joining a waiting room, then reserving. Never refused: calls that
end or keep what was promised (confirm, cancel, returns, a shop's extend), whose number is bounded
by the promises made; operators' calls; and calls that cost nothing: a sale's state, a place in the
waiting room. The load is the larger of two shares of bounds: requests in flight, and the time for
which work waits in the worker (lateness of the event loop, a reserve's wait for its turn), so that
a request that could not be answered in time is refused at once.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from gateway.admission.tokens import Scope

LOOK_SECONDS = 0.05
# A peak of lateness has decayed by half after about three looks.
LATENESS_KEPT = 0.8
# With fewer requests in flight the worker is late for another reason, and refusing would not help.
BUSY_IN_FLIGHT = 256


class Work(Enum):
    """Kinds of requests, in the order in which they are shed."""

    BROWSING = "browsing"
    JOINING = "joining"
    RESERVING = "reserving"
    KEPT = "kept"


# The load from which each kind of work is shed.
SHED_FROM = {Work.BROWSING: 0.5, Work.JOINING: 0.75, Work.RESERVING: 1.0}

# Routes by their names in the metrics.
_BROWSING = ("reservation", "order", "orders")
_JOINING = ("queue_join",)
_RESERVING = ("reserve",)


def work_of(route: str, scope: Scope | None) -> Work:
    """The kind of work that a call is, for a caller of this scope."""
    if scope is Scope.OPS:
        return Work.KEPT
    if route in _RESERVING or (route == "extend" and scope is Scope.BUYER):
        return Work.RESERVING
    if route in _JOINING:
        return Work.JOINING
    return Work.BROWSING if route in _BROWSING else Work.KEPT


class Load:
    """The load of a worker, as a share of its bounds."""

    def __init__(
        self, max_in_flight: int, max_queue_seconds: float, queue_seconds: Callable[[], float]
    ) -> None:
        """`queue_seconds` returns how long a reserve that comes now would wait for its turn."""
        self._max_in_flight = max_in_flight
        self._max_queue_seconds = max_queue_seconds
        self._queue_seconds = queue_seconds
        self._late_seconds = 0.0
        self.in_flight = 0
        self.queue_share = 0.0

    @property
    def share(self) -> float:
        """The load; 1.0 at the bounds."""
        in_flight = (self.in_flight - 1) / self._max_in_flight  # the asking request is no load yet
        return in_flight if self.in_flight < BUSY_IN_FLIGHT else max(in_flight, self.queue_share)

    def sheds(self, work: Work) -> bool:
        """Whether a request of this kind must be refused now."""
        if work is Work.KEPT or self.share < SHED_FROM[work]:
            return False
        part = self.part_shed(work)
        return part >= 1.0 or random.random() < part  # noqa: S311 - fair enough

    def part_shed(self, work: Work) -> float:
        """The share of this kind's requests that is refused now, 0 to 1.

        Above the bound on waiting, reserves are refused in a growing share, 1 - 1 / load: at twice
        the bound, half. A refusal costs nearly as much as serving, so refusing all would leave the
        worker idle or worse.
        """
        if work is Work.KEPT or self.share < SHED_FROM[work]:
            return 0.0
        if work is not Work.RESERVING or self.in_flight > self._max_in_flight:
            return 1.0
        return 1.0 - 1.0 / self.share

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which the request waits for its caller and does not count as in flight."""
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    def note(self, late_seconds: float) -> None:
        """Record a measurement: the event loop ran `late_seconds` later than planned."""
        self._late_seconds = max(late_seconds, LATENESS_KEPT * self._late_seconds)
        waits = max(self._late_seconds, self._queue_seconds())
        self.queue_share = waits / self._max_queue_seconds

    async def watch(self) -> None:
        """Measure the lateness of the event loop, twenty times a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self.note(loop.time() - due)
