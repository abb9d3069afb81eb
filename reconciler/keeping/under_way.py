"""Work on single subjects that goes on beside the runs of its duty, each at its own pace.

A subject whose work takes minutes, or fails again and again, holds up no other subject.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

import structlog

from config.waiting import Backoff
from reconciler.context import OUTAGES
from reconciler.keeping.notices import Notices

PAUSE_FIRST_SECONDS = 0.2
PAUSE_MOST_SECONDS = 5.0

_log = structlog.get_logger()


class UnderWay:
    """At most `most` attempts at once; after a failure the subject pauses, longer every time."""

    def __init__(self, event: str, most: int) -> None:
        """`event` is what the log says of a subject whose attempt failed."""
        self._event = event
        self._places = asyncio.Semaphore(most)
        self._attempts: dict[Hashable, asyncio.Task[None]] = {}
        self._pauses: dict[Hashable, Backoff] = {}
        self._notices = Notices()

    def has(self, subject: Hashable) -> bool:
        """Whether an attempt waits for its turn, is made, or has failed and the subject pauses."""
        return subject in self._attempts

    def begin(self, subject: Hashable, work: Callable[[], Awaitable[object]]) -> None:
        """Make an attempt in the background, unless one is under way."""
        if subject not in self._attempts:
            self._attempts[subject] = asyncio.create_task(self._attempt(subject, work))

    async def end(self) -> None:
        """Cut off all attempts and return when they have ended. They may be begun again."""
        attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)

    async def _attempt(self, subject: Hashable, work: Callable[[], Awaitable[object]]) -> None:
        try:
            async with self._places:
                await work()
        except OUTAGES as error:
            self._notices.warn(self._event, str(subject), error=str(error) or type(error).__name__)
            await self._pause(subject)
        except Exception:  # noqa: BLE001 - a defect is logged whole; the subject is tried again
            _log.exception("attempt_failed", subject=str(subject))
            await self._pause(subject)
        else:
            self._pauses.pop(subject, None)
        finally:
            del self._attempts[subject]

    async def _pause(self, subject: Hashable) -> None:
        pauses = self._pauses.setdefault(subject, Backoff(PAUSE_FIRST_SECONDS, PAUSE_MOST_SECONDS))
        await pauses.pause()
