"""The outbox itself as the event log: each partition's stream is read from its watermark on."""

import asyncio
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.outbox import stream_id
from order_writer.log import Batch, LogEntry, Watermark
from order_writer.outbox import entries_of

_LEAST_ENTRIES_PER_STREAM = 16


class OutboxLog:
    """An EventLog over the streams. Its place is kept in memory; the watermark is the truth."""

    patience_seconds = 0.0

    def __init__(self, client: Redis, *, block_seconds_limit: float) -> None:
        """Own `client`; a blocking read stays below `block_seconds_limit`, its socket time-out."""
        self._client = client
        self._block_seconds_limit = block_seconds_limit
        self._cursors: dict[bytes, tuple[PartitionId, Position]] = {}

    def follow(self, marks: Sequence[Watermark]) -> None:
        """Read these partitions and no others; a new one from its watermark on."""
        cursors = {}
        for mark in marks:
            key = outbox_key(mark.partition)
            cursors[key] = self._cursors.get(key, (mark.partition, mark.position))
        self._cursors = cursors

    async def fetch(self, most_entries: int, wait_seconds: float) -> Batch:
        """At most `most_entries`; the streams take turns at being first."""
        if not self._cursors:
            await asyncio.sleep(wait_seconds)
            return Batch([], [])
        block = int(1000 * min(wait_seconds, self._block_seconds_limit / 2))
        share = max(most_entries // len(self._cursors), _LEAST_ENTRIES_PER_STREAM)
        answer = await self._client.xread(
            {key: stream_id(position) for key, (_, position) in self._cursors.items()},
            count=min(share, most_entries),
            block=block or None,
        )
        return Batch(self._taken(answer, most_entries), [])

    def _taken(self, answer: object, most_entries: int) -> list[LogEntry]:
        entries: list[LogEntry] = []
        for key, found in cast("list[tuple[bytes, object]]", answer or []):
            partition, _ = self._cursors[key]
            taken = entries_of(partition, found)[: most_entries - len(entries)]
            if taken:
                entries += taken
                # To the end of the line: who was read now is asked last the next time.
                del self._cursors[key]
                self._cursors[key] = (partition, taken[-1].position)
        return entries

    async def commit(self) -> None:
        """Nothing to do: the watermark is the only place kept."""

    async def refetch(self, mark: Watermark, most_entries: int) -> list[LogEntry]:
        """The stream has no other past than what the writer reads from it by itself."""
        del mark, most_entries
        return []

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
