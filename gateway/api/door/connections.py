"""The connections of one worker: their number, and how long one may keep the worker waiting.

A request that comes in one piece sets no timer. Whatever keeps a worker waiting (a head that
trickles in, answers that nobody reads) is stamped when it begins, and a check of all connections
twice a second ends what has lasted too long. The fuller the worker, the shorter an idle connection
lives, so that idle connections make room for connections in use.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.api.contract.problems import Problem
from gateway.api.metrics.catalogue import Ended

LOOK_SECONDS = 0.5
# From this share of `max_connections` on, connections idle for PRESSED_IDLE_SECONDS are closed.
PRESSED_SHARE = 0.75
PRESSED_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """`max_per_address` 0: no bound per address. `head_seconds`: time for a request's head, from
    its first byte to its last. `unread_seconds`: time for a caller to take an answer, or to let the
    connection end.
    """

    max_connections: int
    max_per_address: int
    head_seconds: float
    unread_seconds: float


class Watched(Protocol):
    """An open connection, as `Connections` sees it; `now` is the loop's time in seconds."""

    def unread_for(self, now: float) -> float:
        """Seconds for which the caller has not taken an answer; 0 when nothing waits."""

    def head_for(self, now: float) -> float:
        """Seconds since the first byte of an unfinished head; 0 when no head has begun."""

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer; 0 while a request is under way."""

    def refuse(self, problem: Problem) -> None:
        """Answer with the problem, and close."""

    def force_close(self) -> None:
        """Close the connection at once."""

    def abort(self) -> None:
        """Drop the connection with everything unread."""


class Connections:
    """Admits and counts a worker's connections. `watch` runs for as long as the worker serves."""

    def __init__(
        self,
        bounds: ConnectionBounds,
        *,
        count: Callable[[int], None],
        ended: Callable[[str], None],
        exempt: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`count` is called with +1 and -1, `ended` with a reason. `exempt` addresses (proxies)
        have no bound per address, and their idle connections stay open under pressure.
        """
        self._bounds = bounds
        self._count = count
        self._ended = ended
        self._exempt = exempt
        self._open: dict[Watched, str] = {}
        self._by_address: Counter[str] = Counter()

    def admit(self, protocol: Watched, address: str) -> Problem | None:
        """Note a new connection; returns the problem to refuse it with, or None."""
        bounds = self._bounds
        if len(self._open) >= bounds.max_connections:
            self._ended(Ended.FULL)
            return Problem("overloaded", "Too many connections at once.")
        if (
            bounds.max_per_address
            and self._by_address[address] >= bounds.max_per_address
            and not self._exempt(address)
        ):
            self._ended(Ended.ADDRESS)
            return Problem("rate_limited", "Too many connections from one address.")
        self._open[protocol] = address
        self._by_address[address] += 1
        self._count(1)
        return None

    def forget(self, protocol: Watched) -> None:
        """Note that a connection is gone; a connection that was refused is ignored."""
        address = self._open.pop(protocol, None)
        if address is None:
            return
        self._count(-1)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    async def watch(self) -> None:
        """Check all connections, twice a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        """End connections that kept the worker waiting too long; `now` is the loop's time."""
        bounds = self._bounds
        pressed = len(self._open) >= PRESSED_SHARE * bounds.max_connections
        for protocol, address in list(self._open.items()):
            if protocol.unread_for(now) > bounds.unread_seconds:
                self._ended(Ended.UNREAD)
                protocol.abort()
            elif protocol.head_for(now) > bounds.head_seconds:
                self._ended(Ended.HEAD)
                protocol.refuse(Problem("request_timeout", "The request's head did not arrive."))
            elif (
                pressed
                and protocol.idle_for(now) > PRESSED_IDLE_SECONDS
                and not self._exempt(address)
            ):
                self._ended(Ended.PRESSED)
                protocol.force_close()
