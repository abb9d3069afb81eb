"""Waiting, for every process: pauses that grow after faults, looks that repeat up to a deadline.

A leaf that imports nothing of the project, so that the stack, the services and the load tests share
it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress


class Backoff:
    """Pauses that double from `first_seconds` up to `most_seconds`; `reset` after a success.

    With `jitter` a pause is between half and all of its length, so that processes which failed
    together do not return together.
    """

    def __init__(self, first_seconds: float, most_seconds: float, *, jitter: bool = True) -> None:
        """Both bounds are above 0."""
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._jitter = jitter
        self._next_seconds = first_seconds
        self.failures = 0

    def reset(self) -> None:
        """Something worked: the next pause is the first again, and `failures` counts from 0."""
        self._next_seconds = self._first_seconds
        self.failures = 0

    def next_seconds(self) -> float:
        """The length of the next pause; counts one failure."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, self._most_seconds)
        self.failures += 1
        return seconds * random.uniform(0.5, 1.0) if self._jitter else seconds  # noqa: S311 - no secret

    async def pause(self) -> None:
        """Sleep for the next pause."""
        await asyncio.sleep(self.next_seconds())

    async def pause_unless(self, stop: asyncio.Event) -> bool:
        """Sleep for the next pause, or until `stop` is set; whether it is set."""
        return await happened_within(stop, self.next_seconds())


class Spaced:
    """Calls `call` at once, and then at most once in `gap_seconds`.

    What comes meanwhile is one call at the end of the gap; none is lost.
    """

    def __init__(self, call: Callable[[], object], gap_seconds: float) -> None:
        self._call = call
        self._gap_seconds = gap_seconds
        self._open_at = 0.0
        self._planned: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Something happened. To be called in the event loop."""
        loop = asyncio.get_running_loop()
        if self._planned is None:
            if loop.time() >= self._open_at:
                self._now()
            else:
                self._planned = loop.call_at(self._open_at, self._now)

    def _now(self) -> None:
        self._planned = None
        self._open_at = asyncio.get_running_loop().time() + self._gap_seconds
        self._call()


async def happened_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most `seconds`; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task that runs in the background, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def poll_until(
    condition: Callable[[], Awaitable[bool]],
    timeout_seconds: float,
    *,
    first_seconds: float,
    most_seconds: float | None = None,
) -> bool:
    """Look until the condition holds; whether it did within `timeout_seconds`.

    Pauses grow from `first_seconds` to `most_seconds` (None: they stay as they are). The last look
    is at the deadline. What `condition` raises is raised.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    pauses = Backoff(first_seconds, most_seconds or first_seconds, jitter=False)
    while not await condition():
        left_seconds = deadline - loop.time()
        if left_seconds <= 0:
            return False
        await asyncio.sleep(min(pauses.next_seconds(), left_seconds))
    return True
