"""Bounded waits for aiokafka, which may hang for ever, lets its own cancellations reach its
callers, and takes uvloop's error for a lost connection for a defect.

`stop` of a consumer whose broker is gone cancels a fetch that is about to be retried, and awaits
it. The CancelledError that comes out was requested by nobody; taken at face value, it would
silently end the task that called `stop`.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.conn
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata

STOP_SECONDS = 2.0
FAULTS = (KafkaError, TimeoutError, OSError)

_log = structlog.get_logger()


class _Connection(aiokafka.conn.AIOKafkaConnection):  # type: ignore[misc]
    """Turns uvloop's error for a write to a lost connection into a KafkaConnectionError.

    uvloop raises RuntimeError, which aiokafka does not handle (aiokafka issue 1038): it ended the
    consumer's background task, and with it the process.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=aiokafka.conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"connection lost: {error}") from error


# Clients create their connections themselves and accept no other class, so the class is replaced.
aiokafka.conn.AIOKafkaConnection = _Connection


@asynccontextmanager
async def kafka_within(seconds: float) -> AsyncIterator[None]:
    """Bounds the block to `seconds`. Raises TimeoutError after that, KafkaError for a cancellation
    that nobody requested, and whatever aiokafka raises.
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
    """Disconnect from the broker, within STOP_SECONDS; a client that hangs is abandoned."""
    try:
        async with kafka_within(STOP_SECONDS):
            try:
                await client.stop()
            except asyncio.CancelledError:
                if isinstance(client, AIOKafkaConsumer):
                    # `stop` was interrupted before it closed the connections.
                    await client._client.close()  # noqa: SLF001
                raise
    except FAULTS as error:
        _log.warning("kafka_client_left_behind", error=repr(error))


async def read_committed(
    consumer: AIOKafkaConsumer, places: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the consumer's group has committed, with its metadata; nothing for a topic partition
    without a commit.
    """
    # `committed()` keeps the metadata to itself.
    coordinator = consumer._coordinator  # noqa: SLF001
    committed: dict[TopicPartition, OffsetAndMetadata] = await coordinator.fetch_committed_offsets(
        list(places)
    )
    return committed
