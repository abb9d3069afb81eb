"""Reading partitions' outboxes: a range of events, one event, and where each ends."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.outbox import EVENT_FIELD, stream_id
from order_writer.log import LogEntry, Watermark, parse_position


def entries_of(partition: PartitionId, answer: object) -> list[LogEntry]:
    """Stream entries as log entries. An id the scripts could not have given is left out."""
    entries = []
    for identifier, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", answer or []):
        position = parse_position(identifier)
        if position is not None:
            entries.append(LogEntry(partition, position, fields.get(EVENT_FIELD, b"")))
    return entries


class Outbox:
    """The outboxes of all partitions, read only. Raises redis.RedisError where Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def read(
        self, partition: PartitionId, after: Position, most_entries: int
    ) -> list[LogEntry]:
        """At most `most_entries` events beyond a position, in order."""
        answer = await self._client.xrange(
            outbox_key(partition), min=b"(" + stream_id(after), max=b"+", count=most_entries
        )
        return entries_of(partition, answer)

    async def at(self, partition: PartitionId, position: Position) -> LogEntry | None:
        """The event with this number, if the outbox still has it."""
        identifier = stream_id(position)
        key = outbox_key(partition)
        found = entries_of(partition, await self._client.xrange(key, identifier, identifier))
        return found[0] if found else None

    async def ends(
        self, marks: Sequence[Watermark]
    ) -> list[tuple[LogEntry | None, Position | None]]:
        """For each watermark: the outbox's copy of the event there, and the outbox's end."""
        pipeline = self._client.pipeline(transaction=False)
        for mark in marks:
            key, identifier = outbox_key(mark.partition), stream_id(mark.position)
            pipeline.xrange(key, identifier, identifier)
            pipeline.xrevrange(key, count=1)
        answers = await pipeline.execute()
        ends = []
        for mark, same, last in zip(marks, answers[::2], answers[1::2], strict=True):
            copies = entries_of(mark.partition, same)
            tails = entries_of(mark.partition, last)
            ends.append((copies[0] if copies else None, tails[0].position if tails else None))
        return ends
