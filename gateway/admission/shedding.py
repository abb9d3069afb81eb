"""What a worker with too much to do refuses, and in which order.

First looking around, then joining a waiting room, then reserving. Never what ends or keeps what was
promised (confirm, cancel, returns, a shop's extend), nor what operators do: those cannot come more
often than there were promises. Never what costs nothing: a sale's state, a place in the waiting
room. The load is the larger of two parts of their bounds: requests in flight, and the time that
work waits here (how late the event loop runs, how long a reserve waits for its turn), so that a
request that could not be answered in time is refused at once.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from gateway.admission.tokens import Scope

LOOK_SECONDS = 0.05
# A peak of lateness is forgotten by half in about three looks.
LATENESS_KEPT = 0.8
# With fewer in flight their waiting is not what makes the worker late, and refusing them no cure.
BUSY_IN_FLIGHT = 256


class Work(Enum):
    """Kinds of requests, in the order in which they are shed."""

    BROWSING = "browsing"
    JOINING = "joining"
    RESERVING = "reserving"
    KEPT = "kept"


SHED_FROM = {Work.BROWSING: 0.5, Work.JOINING: 0.75, Work.RESERVING: 1.0}

# By the route's name in the metrics.
_BROWSING = ("reservation", "order", "orders")
_JOINING = ("queue_join",)
_RESERVING = ("reserve",)


def work_of(route: str, scope: Scope | None) -> Work:
    """What kind of work a call is for this caller."""
    if scope is Scope.OPS:
        return Work.KEPT
    if route in _RESERVING or (route == "extend" and scope is Scope.BUYER):
        return Work.RESERVING
    if route in _JOINING:
        return Work.JOINING
    return Work.BROWSING if route in _BROWSING else Work.KEPT


class Load:
    """How much there is to do, as a part of what there may be."""

    def __init__(
        self, max_in_flight: int, max_queue_seconds: float, queue_seconds: Callable[[], float]
    ) -> None:
        """`queue_seconds` tells how long a reserve that comes now waits for its turn."""
        self._max_in_flight = max_in_flight
        self._max_queue_seconds = max_queue_seconds
        self._queue_seconds = queue_seconds
        self._late_seconds = 0.0
        self.in_flight = 0
        self.queue_share = 0.0

    @property
    def share(self) -> float:
        """1.0 at the bounds."""
        in_flight = (self.in_flight - 1) / self._max_in_flight  # the one that asks is no load yet
        return in_flight if self.in_flight < BUSY_IN_FLIGHT else max(in_flight, self.queue_share)

    def sheds(self, work: Work) -> bool:
        """Whether a request of this kind is to be refused now."""
        if work is Work.KEPT or self.share < SHED_FROM[work]:
            return False
        part = self.part_shed(work)
        return part >= 1.0 or random.random() < part  # noqa: S311 - fair enough

    def part_shed(self, work: Work) -> float:
        """How many of the requests of this kind are refused now, 0 to 1.

        Of reserves that would only wait too long, as many as are too many: to refuse one costs a
        worker nearly what it costs to serve it, so refusing all would leave it idle or worse.
        """
        if work is Work.KEPT or self.share < SHED_FROM[work]:
            return 0.0
        if work is not Work.RESERVING or self.in_flight > self._max_in_flight:
            return 1.0
        return 1.0 - 1.0 / self.share

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the block waits for its caller, the request is no work in flight."""
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    def note(self, late_seconds: float) -> None:
        """One look: how much later than planned it came."""
        self._late_seconds = max(late_seconds, LATENESS_KEPT * self._late_seconds)
        waits = max(self._late_seconds, self._queue_seconds())
        self.queue_share = waits / self._max_queue_seconds

    async def watch(self) -> None:
        """Look, twenty times a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self.note(loop.time() - due)
