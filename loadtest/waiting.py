"""How the load tools wait: looks that are repeated until one succeeds, and pauses that grow.

Rooms that run under gevent (loadtest/crowd) use the pauses and sleep in gevent's own way.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")


@dataclass(slots=True)
class Backoff:
    """Pauses in seconds, each twice as long as the pause before, up to `longest_seconds`.

    With `jitter` a pause is drawn evenly between 0 and that length, so that callers who failed
    together do not return together ("full jitter", AWS Architecture Blog).
    """

    first_seconds: float
    longest_seconds: float = math.inf
    jitter: bool = False
    _next_seconds: float = 0.0

    def next_seconds(self) -> float:
        """The length of the pause that is due now."""
        pause = min(self.longest_seconds, self._next_seconds or self.first_seconds)
        self._next_seconds = 2 * pause
        return random.uniform(0, pause) if self.jitter else pause


async def poll_until(
    look: Callable[[], Awaitable[Found | None]],
    *,
    pause_seconds: float,
    timeout_seconds: float | None,
) -> Found:
    """Look again after each pause until a look returns something true; returns what was found.

    Raises what `look` raises, and TimeoutError after `timeout_seconds` (None: the looks themselves
    end in time).
    """
    async with asyncio.timeout(timeout_seconds):
        while not (found := await look()):  # noqa: ASYNC110 - what is looked at is outside
            await asyncio.sleep(pause_seconds)
        return found
