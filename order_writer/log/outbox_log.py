"""The outbox itself as the event log: each partition's stream is read from its watermark on."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.redis.outbox import stream_id
from order_writer.log.event_log import Batch, LogEntry, Watermark
from order_writer.log.outbox import entries_of

_LEAST_ENTRIES_PER_STREAM = 16
# With a backlog a batch is of few streams, in turn: each partition of a batch costs the ledger as
# much as some ten events.
_BACKLOG_ENTRIES_PER_STREAM = 128


class OutboxLog:
    """An EventLog over the streams. Its cursors are in memory; the watermarks are the truth."""

    patience_seconds = 0.0

    def __init__(self, client: Redis, *, block_seconds_limit: float) -> None:
        """Own `client`; a blocking read stays below `block_seconds_limit`, its socket time-out."""
        self._client = client
        self._block_seconds_limit = block_seconds_limit
        self._cursors: dict[bytes, tuple[PartitionId, Position]] = {}
        self._has_backlog = False

    def follow(self, marks: Sequence[Watermark]) -> None:
        """Read these partitions and no others; a new partition from its watermark on."""
        cursors = {}
        for mark in marks:
            key = outbox_key(mark.partition)
            cursors[key] = self._cursors.get(key, (mark.partition, mark.position))
        self._cursors = cursors

    async def fetch(self, most_entries: int, wait_seconds: float) -> Batch:
        """At most `most_entries`: an equal share of each stream, then the rest from the streams
        that have more; while there is a backlog, a larger share of some streams in turn. Fewer than
        `most_entries` means that there are no more.
        """
        if not self._cursors:
            await asyncio.sleep(wait_seconds)
            return Batch([], [])
        block = int(1000 * min(wait_seconds, self._block_seconds_limit / 2))
        entries: list[LogEntry] = []
        if self._has_backlog:
            some = await self._not_empty(most=max(1, most_entries // _BACKLOG_ENTRIES_PER_STREAM))
            if some:
                (entries, _), block = await self._read(some, most_entries, 0), 0
        keys = list(self._cursors)
        while keys and len(entries) < most_entries:
            found, keys = await self._read(keys, most_entries - len(entries), block)
            entries += found
            block = 0
        self._has_backlog = len(entries) == most_entries
        return Batch(entries, [])

    async def _not_empty(self, most: int) -> list[bytes]:
        """So many streams that have entries, those first that were read longest ago."""
        return [key for key, _ in (await self._xread(list(self._cursors), 1, 0))[:most]]

    async def _xread(
        self, keys: Sequence[bytes], count: int, block: int
    ) -> list[tuple[bytes, list[object]]]:
        streams = {key: stream_id(self._cursors[key][1]) for key in keys}
        answer = await self._client.xread(
            cast("dict[Any, Any]", streams), count=count, block=block or None
        )
        return cast("list[tuple[bytes, list[object]]]", answer or [])

    async def _read(
        self, keys: Sequence[bytes], most_entries: int, block: int
    ) -> tuple[list[LogEntry], list[bytes]]:
        """Entries of these streams, and which streams may have more. A stream that was read is
        asked last the next time.
        """
        share = min(max(most_entries // len(keys), _LEAST_ENTRIES_PER_STREAM), most_entries)
        entries: list[LogEntry] = []
        longer: list[bytes] = []
        for key, rows in await self._xread(keys, share, block):
            partition, _ = self._cursors[key]
            taken = entries_of(partition, rows)[: most_entries - len(entries)]
            if taken:
                entries += taken
                del self._cursors[key]
                self._cursors[key] = (partition, taken[-1].position)
                if len(rows) == share:
                    longer.append(key)
        return entries, longer

    async def commit(self) -> None:
        """Nothing to do: only the watermarks are kept."""

    def rewind(self, run: str, marks: Sequence[Watermark], newest: Mapping[str, int]) -> None:
        """Read every followed stream from its watermark on; streams have no offsets."""
        del run, newest
        for mark in marks:
            key = outbox_key(mark.partition)
            if key in self._cursors:
                self._cursors[key] = (mark.partition, mark.position)

    async def refetch(self, mark: Watermark, most_entries: int) -> list[LogEntry]:
        """The stream has no other past than what the writer reads from it by itself."""
        del mark, most_entries
        return []

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
