"""Outbox → event log, in rounds: read what is new everywhere, produce it, remember how far.

How far is stored beside the outbox, and only after the log's acknowledgement. A relay that restarts
anywhere in between sends some events twice, which the ledger's numbers make harmless, and leaves
out none. One of several relays carries a partition, by a lease; the others stand by. Within a
partition the first event that is not acknowledged stops all later events of the round, which are
read again. The relay never trims.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.leases import Leases
from gateway.inventory.redis.outbox import OutboxEntry, entries_of, read_tail, stream_id
from gateway.relay.metrics import RelayMetrics
from gateway.relay.producer import EventProducer, Outgoing

LAG_LOG_SECONDS = 10.0
STANDBY_SECONDS = 0.2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """`round_events`: most events in flight; `block_milliseconds`: longest wait for new ones.

    `lease_milliseconds`: how long a relay that is gone blocks its partitions; `renew_milliseconds`:
    how often leases are renewed, and free leases looked for.
    """

    round_events: int = 4000
    block_milliseconds: int = 250
    lease_milliseconds: int = 3000
    renew_milliseconds: int = 1000

    def __post_init__(self) -> None:
        """Raise ValueError for impossible bounds."""
        if self.round_events < 1 or not 1 <= self.block_milliseconds <= 500:
            raise ValueError("relay: round_events >= 1, block_milliseconds 1 to 500")
        if self.lease_milliseconds < 1 or self.renew_milliseconds < 1:
            raise ValueError("relay: lease_milliseconds and renew_milliseconds >= 1")


class Relay:
    """Carries events of the partitions it is given and has leases of, a round at a time."""

    def __init__(self, redis: Redis, producer: EventProducer, config: RelayConfig) -> None:
        self._redis = redis
        self._producer = producer
        self._config = config
        self._leases = Leases(redis, config.lease_milliseconds)
        self._positions: dict[PartitionId, Position] = {}
        self._wanted: set[PartitionId] = set()
        self._renew_at = 0.0
        self._lag_logged_at = 0.0
        self.metrics = RelayMetrics()

    @property
    def owner(self) -> str:
        """This relay's name in the leases."""
        return self._leases.owner

    async def give_up(self) -> None:
        """Release all leases after a failure; the stored positions are read with the next lease.

        Raises redis-py's errors.
        """
        led = tuple(self._positions)
        self._positions.clear()
        self.metrics.partitions_led.set(0)
        self._renew_at = 0.0
        if led:
            await self._leases.release(led)

    async def run_round(self, partitions: Iterable[PartitionId]) -> bool:
        """Carry new events, waiting shortly for them; False when the log did not take all.

        Raises LogUnavailable and redis-py's errors; the next round then repeats the events.
        """
        await self._lead(partitions)
        self.metrics.partitions_led.set(len(self._positions))
        if not self._positions:
            await asyncio.sleep(STANDBY_SECONDS)
            return True
        events = await self._read_new()
        if not events:
            return True
        acknowledged = await self._produce(events)
        await self._remember(acknowledged)
        self.metrics.events.inc(len(acknowledged))
        return len(acknowledged) == len(events)

    async def log_lag(self) -> None:
        """Log, every LAG_LOG_SECONDS, how many events of each partition the log lacks."""
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

    async def _lead(self, partitions: Iterable[PartitionId]) -> None:
        """Renew leases and take free ones: once in a while, and at once for new partitions."""
        wanted = set(partitions)
        new, self._wanted = wanted - self._wanted, wanted
        if time.monotonic() < self._renew_at and not new:
            for partition in self._positions.keys() - wanted:
                # The sale is settled: the outbox, and with it the lease, is gone.
                del self._positions[partition]
            return
        led = await self._leases.take(wanted)
        self._renewed()
        for partition in self._positions.keys() - led.keys():
            del self._positions[partition]
            _log.info("relay_lease_lost", partition=str(partition), owner=self.owner)
        for partition, noted in led.items():
            if partition not in self._positions:
                self._positions[partition] = noted
                _log.info("relay_leads", partition=str(partition), owner=self.owner)

    def _renewed(self) -> None:
        self._renew_at = time.monotonic() + self._config.renew_milliseconds / 1000

    async def _produce(self, events: Sequence[Outgoing]) -> list[Outgoing]:
        """Produce, and renew the leases for as long as the log takes."""
        producing = asyncio.ensure_future(self._producer.produce(events))
        try:
            while True:
                left_seconds = max(0.0, self._renew_at - time.monotonic())
                await asyncio.wait((producing,), timeout=left_seconds)
                if producing.done():
                    return producing.result()
                # A lost lease is noticed when positions are noted; events under way do no harm.
                await self._leases.take(self._positions)
                self._renewed()
        finally:
            if not producing.done():
                producing.cancel()
                await asyncio.wait((producing,))

    async def _read_new(self) -> list[Outgoing]:
        """New events, in order within each partition; together at most `round_events`: an equal
        share of each partition, then the rest from the partitions that have more.
        """
        cursors = dict(self._positions)
        events: list[Outgoing] = []
        longer = list(cursors)
        block: int | None = self._config.block_milliseconds
        while longer and len(events) < self._config.round_events:
            most = self._config.round_events - len(events)
            share = max(1, most // len(longer))
            found = await self._read(cursors, longer, share, block)
            longer = []
            for partition, entries in found:
                taken = entries[: self._config.round_events - len(events)]
                events += [Outgoing(partition, entry) for entry in taken]
                if taken:
                    cursors[partition] = taken[-1].position
                if len(taken) == share:
                    longer.append(partition)
            block = None
        return events

    async def _read(
        self,
        cursors: Mapping[PartitionId, Position],
        partitions: Sequence[PartitionId],
        share: int,
        block: int | None,
    ) -> list[tuple[PartitionId, list[OutboxEntry]]]:
        """At most `share` events behind the cursor of each partition that has any."""
        by_key = {outbox_key(partition): partition for partition in partitions}
        streams = {key: stream_id(cursors[partition]) for key, partition in by_key.items()}
        found = await self._redis.xread(cast("dict[Any, Any]", streams), count=share, block=block)
        # A list of pairs under the protocol in use; the library's types name every protocol.
        replies = cast("list[tuple[bytes, object]]", found or [])
        return [(by_key[key], entries_of(rows)) for key, rows in replies]

    async def _remember(self, acknowledged: Sequence[Outgoing]) -> None:
        last = {event.partition: event.entry.position for event in acknowledged}
        if not last:
            return
        taken_over = await self._leases.note(last)
        for partition, position in last.items():
            # What was read now is asked last in the next round.
            self._positions.pop(partition, None)
            self._positions[partition] = position
        for partition in taken_over:
            del self._positions[partition]
            _log.info("relay_lease_lost", partition=str(partition), owner=self.owner)
