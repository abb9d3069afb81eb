"""Keeps a duty running: again after the pause it asks for, at once when woken, whatever fails.

A run ends with the lead, too, where the duty needs the lead: the next leader begins again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import structlog

from config.waiting import Backoff, happened_within
from reconciler.context import OUTAGES
from reconciler.keeping.metrics import ReconcilerMetrics
from reconciler.keeping.notices import Notices

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 2.0
# Partitions worked on at the same time by one duty.
CONCURRENCY_MAX = 16

_log = structlog.get_logger()
Subject = TypeVar("Subject")
Result = TypeVar("Result")


class Duty(Protocol):
    """One periodic task of the reconciler.

    `deadline_seconds` bounds one run. Only duties that are safe in any number of processes at once
    may say that they do not need the lead.
    """

    name: ClassVar[str]
    needs_lead: ClassVar[bool]
    deadline_seconds: ClassVar[float]

    async def run_once(self) -> float:
        """Do what is to be done now; seconds until there may be something again."""
        ...


@runtime_checkable
class GoesOn(Protocol):
    """A duty that begins work which goes on between its runs."""

    async def end_work(self) -> None:
        """Cut that work off: the lead has ended, or the process stops."""
        ...


class Keeper:
    """Runs one duty until it is stopped; `wake` cuts a pause short. Stopping is idempotent.

    A run that is under way when the duty is no longer allowed is cut off by the next `wake`.
    """

    def __init__(
        self, duty: Duty, is_allowed: Callable[[], bool], metrics: ReconcilerMetrics
    ) -> None:
        """`is_allowed` is asked before each run, and by each `wake`."""
        self._duty = duty
        self._metrics = metrics
        self._is_allowed = is_allowed
        self._woken = asyncio.Event()
        self._stopping = False
        self._run: asyncio.Timeout | None = None

    def wake(self) -> None:
        """Look again now; end a run that is no longer allowed."""
        self._woken.set()
        run = self._run
        if run is not None and not run.expired() and not self._is_allowed():
            run.reschedule(0.0)

    def stop(self) -> None:
        """End after the run under way."""
        self._stopping = True
        self.wake()

    async def keep(self) -> None:
        """Run until stopped. After an outage or a defect, which is logged whole, it runs again."""
        try:
            await self._keep()
        finally:
            await self._end_work()

    async def _keep(self) -> None:
        pauses = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS)
        while not self._stopping:
            if not self._is_allowed():
                await self._end_work()
                await self._pause(BACKOFF_MOST_SECONDS)
                continue
            began = time.monotonic()
            result = "done"
            try:
                pause_seconds = await self._run_once()
                pauses.reset()
            except OUTAGES as error:
                result = "waits"
                _log.warning(
                    "duty_waits", duty=self._duty.name, error=str(error) or type(error).__name__
                )
                pause_seconds = pauses.next_seconds()
            except (Exception, asyncio.CancelledError) as error:
                # A duty that ended would strand units; a client may raise CancelledError, too.
                if isinstance(error, asyncio.CancelledError) and _is_asked_to_end():
                    raise
                result = "failed"
                _log.exception("duty_failed", duty=self._duty.name)
                pause_seconds = BACKOFF_MOST_SECONDS
            self._count(result, time.monotonic() - began)
            await self._pause(pause_seconds)

    async def _end_work(self) -> None:
        if isinstance(self._duty, GoesOn):
            await self._duty.end_work()

    async def _run_once(self) -> float:
        """Raises TimeoutError at the deadline, and when a `wake` finds the run not allowed."""
        async with asyncio.timeout(self._duty.deadline_seconds) as run:
            self._run = run
            try:
                return await self._duty.run_once()
            finally:
                self._run = None

    def _count(self, result: str, seconds: float) -> None:
        name = self._duty.name
        self._metrics.runs.labels(name, result).inc()
        self._metrics.seconds.labels(name).inc(seconds)
        if result == "done":
            self._metrics.last_done.labels(name).set_to_current_time()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await happened_within(self._woken, seconds)
        else:
            await asyncio.sleep(0)
        self._woken.clear()


def _is_asked_to_end() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def for_each(
    subjects: Iterable[Subject],
    work: Callable[[Subject], Awaitable[Result]],
    notices: Notices,
    event: str,
) -> list[Result]:
    """Do `work` for all subjects, at most CONCURRENCY_MAX at a time; returns the results.

    A subject that meets an outage is reported, holds up no other, and has no result.
    """
    places = asyncio.Semaphore(CONCURRENCY_MAX)

    async def guarded(subject: Subject) -> list[Result]:
        async with places:
            try:
                return [await work(subject)]
            except OUTAGES as error:
                notices.warn(event, str(subject), error=str(error) or type(error).__name__)
                return []

    found = await asyncio.gather(*(guarded(subject) for subject in subjects))
    return [result for results in found for result in results]
