"""Outbox → event log, in rounds: read what is new everywhere, produce it, remember how far.

How far is stored beside the outbox, and only after the log's acknowledgement. A relay that restarts
anywhere in between sends some events twice, which the ledger's numbers make harmless, and never
leaves one out. Within a partition the first event that is not acknowledged stops all later ones of
the round; they are read again. The relay never trims.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, relay_key
from gateway.inventory.outbox import START, entries_of, position_of, read_tail, stream_id
from gateway.relay.producer import EventProducer, Outgoing

POSITION_FIELD = "position"
LAG_LOG_SECONDS = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """`round_events`: most events in flight; `block_milliseconds`: longest wait for new ones."""

    round_events: int = 4000
    block_milliseconds: int = 250

    def __post_init__(self) -> None:
        """Raise ValueError for bounds that are none."""
        if self.round_events < 1 or not 1 <= self.block_milliseconds <= 500:
            raise ValueError("relay: round_events >= 1, block_milliseconds 1 to 500")


class Relay:
    """Carries events for the partitions it is told of; one round at a time."""

    def __init__(self, redis: Redis, producer: EventProducer, config: RelayConfig) -> None:
        self._redis = redis
        self._producer = producer
        self._config = config
        self._positions: dict[PartitionId, Position] = {}
        self._lag_logged_at = 0.0
        self.relayed_events = 0

    def forget_positions(self) -> None:
        """Read them again from Redis: after a failure, what is stored is what counts."""
        self._positions.clear()

    async def run_round(self, partitions: Iterable[PartitionId]) -> bool:
        """Carry what is new, waiting shortly for something; False when the log did not take it all.

        Raises LogUnavailable and redis-py's errors; nothing is lost by any of them.
        """
        await self._learn_positions(partitions)
        if not self._positions:
            return True
        events = await self._read_new()
        if not events:
            return True
        acknowledged = await self._producer.produce(events)
        await self._remember(acknowledged)
        self.relayed_events += len(acknowledged)
        return len(acknowledged) == len(events)

    async def log_lag(self) -> None:
        """Say, once in a while, how many events of each partition the log does not have yet."""
        now = time.monotonic()
        if now - self._lag_logged_at < LAG_LOG_SECONDS:
            return
        self._lag_logged_at = now
        for partition, position in self._positions.items():
            tail = await read_tail(self._redis, partition)
            if tail is not None and tail.position > position:
                same = tail.position.epoch == position.epoch
                events = tail.position.sequence - (position.sequence if same else 0)
                _log.info("relay_lag", partition=str(partition), events=events)

    async def _learn_positions(self, partitions: Iterable[PartitionId]) -> None:
        wanted = set(partitions)
        for partition in self._positions.keys() - wanted:
            del self._positions[partition]
        for partition in sorted(wanted - self._positions.keys()):
            stored = await self._redis.hget(relay_key(partition), POSITION_FIELD)
            known = stored if isinstance(stored, bytes) else stream_id(START)
            self._positions[partition] = position_of(known)

    async def _read_new(self) -> list[Outgoing]:
        """New events of all partitions, in order within each; together at most `round_events`."""
        by_key = {outbox_key(partition): partition for partition in self._positions}
        streams = {key: stream_id(self._positions[by_key[key]]) for key in by_key}
        found = await self._redis.xread(
            cast("dict[Any, Any]", streams),
            count=max(1, self._config.round_events // len(by_key)),
            block=self._config.block_milliseconds,
        )
        # A list of pairs under the protocol in use; the library's types name every protocol.
        replies = cast("list[tuple[bytes, object]]", found or [])
        return [Outgoing(by_key[key], entry) for key, rows in replies for entry in entries_of(rows)]

    async def _remember(self, acknowledged: Sequence[Outgoing]) -> None:
        last = {event.partition: event.entry.position for event in acknowledged}
        async with self._redis.pipeline(transaction=False) as pipeline:
            for partition, position in last.items():
                pipeline.hset(relay_key(partition), POSITION_FIELD, stream_id(position))
            await pipeline.execute()
        self._positions.update(last)
