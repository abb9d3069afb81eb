"""Waiting for aiokafka: it may hang for ever, it hands cancellations of its own to its callers, and
takes what uvloop says of a lost connection for a defect.

`stop` of a consumer whose broker is gone cancels a fetch that is about to try again, and awaits it.
What then comes out is a CancelledError that nobody has asked for: taken for what it looks like, it
ends the task that called, without a word.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.conn
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

STOP_SECONDS = 2.0
FAULTS = (KafkaError, TimeoutError, OSError)

_log = structlog.get_logger()


class _Connection(aiokafka.conn.AIOKafkaConnection):  # type: ignore[misc]
    """Tells what uvloop says of a write to a connection that has just been lost as an outage.

    It is a RuntimeError there, of which aiokafka does not know (its issue 1038): the consumer's
    background task ended of it, and so did the process.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=aiokafka.conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"connection lost: {error}") from error


# Clients make their connections themselves and can be given no other kind.
aiokafka.conn.AIOKafkaConnection = _Connection


@asynccontextmanager
async def kafka_within(seconds: float) -> AsyncIterator[None]:
    """At most `seconds` in the block. Raises TimeoutError after that, KafkaError for a cancellation
    that is not the caller's, and what aiokafka raises.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaError("aiokafka cancelled itself") from error


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Leave the broker within a bounded time; a client that hangs is left behind."""
    try:
        async with kafka_within(STOP_SECONDS):
            try:
                await client.stop()
            except asyncio.CancelledError:
                if isinstance(client, AIOKafkaConsumer):
                    # What `stop` did not come to any more: its connections.
                    await client._client.close()  # noqa: SLF001
                raise
    except FAULTS as error:
        _log.warning("kafka_client_left_behind", error=repr(error))
