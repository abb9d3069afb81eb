"""The connections of one worker: how many there may be, and how long one may keep it waiting.

Nothing is set for a request that comes in one piece: what keeps a worker waiting (a head that comes
in drops, answers nobody reads) is noted where it begins, and a look at all connections twice a
second ends what has lasted too long. The fuller the worker, the shorter an idle connection lives,
so that those who only hold connections make room for those who use them.
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
    """`max_per_address` 0: no bound; `head_seconds` from the first byte of a request to the last of
    its head; `unread_seconds` for a caller to take an answer, or the end of the connection.
    """

    max_connections: int
    max_per_address: int
    head_seconds: float
    unread_seconds: float


class Watched(Protocol):
    """One open connection, as far as it is looked at here; `now` is the loop's time."""

    def unread_for(self, now: float) -> float:
        """Seconds that the caller has not taken an answer; else 0."""

    def head_for(self, now: float) -> float:
        """Seconds since the first byte of a head that is not whole yet; else 0."""

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer, where nothing is asked now; else 0."""

    def refuse(self, problem: Problem) -> None:
        """Answer with the problem, and close."""

    def force_close(self) -> None:
        """Close at once."""

    def abort(self) -> None:
        """Drop the connection with all that was not read."""


class Connections:
    """See the module. `watch` runs for as long as the worker serves."""

    def __init__(
        self,
        bounds: ConnectionBounds,
        *,
        count: Callable[[int], None],
        ended: Callable[[str], None],
        exempt: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`count` is told of +1 and -1, `ended` of reasons; `exempt` addresses, those of proxies,
        have no bound of their own, and keep what they hold ready.
        """
        self._bounds = bounds
        self._count = count
        self._ended = ended
        self._exempt = exempt
        self._open: dict[Watched, str] = {}
        self._by_address: Counter[str] = Counter()

    def admit(self, protocol: Watched, address: str) -> Problem | None:
        """Note a new connection, or say why there must not be one more."""
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
        """A connection is gone; one that was never admitted is none."""
        address = self._open.pop(protocol, None)
        if address is None:
            return
        self._count(-1)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    async def watch(self) -> None:
        """Look at all connections, twice a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        """End what has lasted too long; `now` is the loop's time."""
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
