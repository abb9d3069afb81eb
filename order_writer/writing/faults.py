"""Which faults are an event's own (poison), and which pass and are waited out, without end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiokafka.errors
import asyncpg
import redis
import structlog

from config.waiting import Backoff
from gateway.process.postgres import LEDGER_FAULTS
from order_writer.folding.errors import IntegrityViolation

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger()
_POISON_CLASSES = ("22", "23")  # data exception, integrity constraint violation
# Faults of a server, or of the way to it, which may come at any time.
PASSING = (
    *LEDGER_FAULTS,
    redis.RedisError,
    aiokafka.errors.KafkaError,
)


class Stopping(Exception):
    """The process is to stop; work under way is left undone, for the next process."""


def fault_backoff() -> Backoff:
    """The pauses after faults that pass."""
    return Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)


async def pause_or_stop(backoff: Backoff, stop: asyncio.Event) -> None:
    """Sleep for the next pause. Raises Stopping as soon as the process is to stop."""
    if await backoff.pause_unless(stop):
        raise Stopping


def is_poison(error: Exception) -> bool:
    """Whether the event, not the server, is at fault: the only faults that end in a dead letter."""
    if isinstance(error, IntegrityViolation):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _POISON_CLASSES
    # The client could not even send a value: out of range for its column, or no valid text.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


async def patiently(stop: asyncio.Event, action: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` until it succeeds. Raises poison, and Stopping once the process is to stop."""
    backoff = fault_backoff()
    while True:
        try:
            return await work()
        except PASSING as error:
            if is_poison(error):
                raise
            _log.warning(
                "trying_again", what=action, failures=backoff.failures + 1, error=repr(error)
            )
            await pause_or_stop(backoff, stop)


def handle_lost_connection(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for the loop: a lost connection to Postgres is an outage here, too.

    asyncpg gives up the future of a COPY that it begins just after the server has ended the
    connection; the caller gets another error, and nobody retrieves this one.
    """
    error = context.get("exception")
    is_task = isinstance(context.get("future"), asyncio.Task)
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and not is_task:
        _log.info("connection_lost", error=repr(error))
    else:
        loop.default_exception_handler(context)
