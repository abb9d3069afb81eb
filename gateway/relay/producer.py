"""The Kafka side of the relay: events out, in order, each acknowledged by all in-sync replicas.

The client can hang for ever when the broker is away, and stays broken after a lost sequence number,
so every wait has a deadline here, and a producer is replaced after its first failure.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer

from config.settings import EventLogSettings
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import OutboxEntry
from gateway.inventory.tracing import (
    Role,
    Span,
    Tracing,
    now_ns,
    reservation_of,
    traceparent_of,
)
from gateway.process.kafka import FAULTS, kafka_within, stop_client

BATCH_MAX_BYTES = 131_072
START_TIMEOUT_SECONDS = 10.0

_log = structlog.get_logger()


class LogUnavailable(Exception):
    """Kafka did not take a message in time, or refused it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event on its way."""

    partition: PartitionId
    entry: OutboxEntry


class EventProducer:
    """An idempotent producer that is replaced after every failure."""

    def __init__(self, settings: EventLogSettings, tracing: Tracing | None = None) -> None:
        """`tracing`: where the spans of sent events go; None: no spans."""
        self._settings = settings
        self._tracing = tracing
        self._producer: AIOKafkaProducer | None = None

    async def produce(self, events: Sequence[Outgoing]) -> list[Outgoing]:
        """Send `events`; returns the acknowledged ones: of each partition, all before a failure.

        Fewer than all means a failure: the rest may or may not be in the log, and must be sent
        again. Raises LogUnavailable where nothing could be sent at all.
        """
        producer = await self._started()
        deadline_seconds = self._settings.request_timeout_milliseconds / 1000
        acknowledgements: list[asyncio.Future[object]] = []
        failure: str | None = None
        try:
            async with kafka_within(deadline_seconds):
                for event in events:
                    acknowledgement = await self._send(producer, event)
                    acknowledgement.add_done_callback(_look_at)
                    acknowledgements.append(acknowledgement)
                await asyncio.gather(*acknowledgements)
        except FAULTS as error:
            failure = str(error) or type(error).__name__
        acknowledged = acknowledged_of(events, acknowledgements)
        if failure is not None:
            _log.warning(
                "log_refuses", error=failure, sent=len(events), acknowledged=len(acknowledged)
            )
            await self.close()
        return acknowledged

    async def send_one(self, topic: str, key: str, value: str) -> None:
        """Send a message that is not an event of a partition. Raises LogUnavailable."""
        producer = await self._started()
        try:
            async with kafka_within(self._settings.request_timeout_milliseconds / 1000):
                await producer.send_and_wait(topic, value.encode(), key=key.encode())
        except FAULTS as error:
            await self.close()
            raise LogUnavailable(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Give the producer up, without waiting long for it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_client(producer)

    async def _send(self, producer: AIOKafkaProducer, event: Outgoing) -> asyncio.Future[object]:
        position = event.entry.position
        headers = [("epoch", b"%d" % position.epoch), ("sequence", b"%d" % position.sequence)]
        span = None if self._tracing is None else _span_of(self._tracing, event)
        if span is not None:
            headers.append(("traceparent", traceparent_of(span).encode()))
        sent: asyncio.Future[object] = await producer.send(
            self._settings.topic,
            key=str(event.partition).encode(),
            value=event.entry.raw,
            headers=headers,
        )
        if span is not None:
            sent.add_done_callback(lambda _: span.end(now_ns()))
        return sent

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=self._settings.linger_milliseconds,
            max_batch_size=BATCH_MAX_BYTES,
            request_timeout_ms=self._settings.request_timeout_milliseconds,
        )
        try:
            async with kafka_within(START_TIMEOUT_SECONDS):
                await self._producer.start()
        except FAULTS as error:
            await self.close()
            raise LogUnavailable(str(error) or type(error).__name__) from error
        return self._producer


def _span_of(tracing: Tracing, event: Outgoing) -> Span | None:
    reservation = reservation_of(event.entry.raw)
    if reservation is None:
        return None
    return tracing.start("relay", reservation, Role.PRODUCER, now_ns())


def _look_at(future: asyncio.Future[object]) -> None:
    """Retrieve the failure of an acknowledgement that nobody waits for, so that none is logged."""
    if not future.cancelled():
        future.exception()


def acknowledged_of(
    events: Sequence[Outgoing], acknowledgements: Sequence[asyncio.Future[object]]
) -> list[Outgoing]:
    """The events before the first unacknowledged event of their partition."""
    acknowledged: list[Outgoing] = []
    broken: set[PartitionId] = set()
    for event, future in zip(events, acknowledgements, strict=False):
        failed = not future.done() or future.cancelled() or future.exception() is not None
        if failed:
            broken.add(event.partition)
        elif event.partition not in broken:
            acknowledged.append(event)
    return acknowledged
