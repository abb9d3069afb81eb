"""Waiting after a fault: capped, with jitter, and over as soon as the process is to stop."""

import asyncio
import random

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 5.0


class Stopping(Exception):
    """The process is to stop; what was under way is not done and will be done by the next one."""


class Backoff:
    """Grows from FIRST_WAIT_SECONDS to LONGEST_WAIT_SECONDS; `reset` after a success."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._failures = 0

    @property
    def failures(self) -> int:
        """Waits since the last success."""
        return self._failures

    def reset(self) -> None:
        """Something worked."""
        self._failures = 0

    async def wait(self) -> None:
        """Wait the next time; raises Stopping as soon as the process is to stop."""
        longest = min(FIRST_WAIT_SECONDS * 2 ** min(self._failures, 16), LONGEST_WAIT_SECONDS)
        self._failures += 1
        if await stopped_within(self._stop, longest * random.uniform(0.5, 1.0)):  # noqa: S311 -- jitter
            raise Stopping


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait at most so long for `stop`; tell whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
