"""Which faults are an event's own (poison) and which are the world's (tried again without end)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiokafka.errors
import asyncpg
import redis
import structlog

from gateway.process.postgres import LEDGER_FAULTS
from order_writer.backoff import Backoff
from order_writer.folding.errors import IntegrityViolation

T = TypeVar("T")

_log = structlog.get_logger()
_POISON_CLASSES = ("22", "23")  # data exception, integrity constraint violation
# What a server, or the way to it, may do at any time.
PASSING = (
    *LEDGER_FAULTS,
    redis.RedisError,
    aiokafka.errors.KafkaError,
)


def is_poison(error: Exception) -> bool:
    """Whether the event, not the server, is at fault: the only faults that end in a dead letter."""
    if isinstance(error, IntegrityViolation):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _POISON_CLASSES
    # The client could not even send a value: out of range for its column, or no valid text.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


async def patiently(stop: asyncio.Event, action: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` until it succeeds. Raises what is poison, and Stopping when told to stop."""
    backoff = Backoff(stop)
    while True:
        try:
            return await work()
        except PASSING as error:
            if is_poison(error):
                raise
            _log.warning(
                "trying_again", what=action, failures=backoff.failures + 1, error=repr(error)
            )
            await backoff.wait()


def tell_unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for the loop: a lost connection to Postgres is an outage here, too.

    asyncpg gives up the future of a COPY that it begins just after the server has ended the
    connection; the caller gets another error, and nobody hears of this one.
    """
    error = context.get("exception")
    is_task = isinstance(context.get("future"), asyncio.Task)
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and not is_task:
        _log.info("connection_lost", error=repr(error))
    else:
        loop.default_exception_handler(context)
