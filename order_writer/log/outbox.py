"""Reading partitions in Redis: their outboxes, and what they remember of the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, partition_keys
from gateway.inventory.redis.memory import MEMORY_FIELDS, Memory, memory_of
from gateway.inventory.redis.outbox import EVENT_FIELD, stream_id
from order_writer.log.event_log import LogEntry, Watermark, parse_position


def entries_of(partition: PartitionId, answer: object) -> list[LogEntry]:
    """Stream entries as log entries. An id that the scripts cannot have given is left out."""
    entries = []
    for identifier, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", answer or []):
        position = parse_position(identifier)
        if position is not None:
            entries.append(LogEntry(partition, position, fields.get(EVENT_FIELD, b"")))
    return entries


@dataclass(frozen=True, slots=True)
class End:
    """The end of an outbox: its copy of the event at a watermark, and its last number.

    `is_trusted`: the partition answers. Until it does, recovery, not the writer, judges its outbox.
    """

    copy: LogEntry | None
    tail: Position | None
    is_trusted: bool


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a partition remembers of the ledger, the state it is in, and `End.is_trusted`."""

    memory: Memory
    state: str
    is_trusted: bool


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

    async def ends(self, marks: Sequence[Watermark]) -> list[End]:
        """For each watermark, what its outbox has.

        Where nothing is beyond the watermark, the last event is the event at the watermark. Only of
        the other outboxes is more read, and all of it again: what is compared comes from one run of
        the server.
        """
        ends = await self._ends(marks, with_copies=False)
        moving = [
            index
            for index, (mark, end) in enumerate(zip(marks, ends, strict=True))
            if end.copy is None or end.copy.position != mark.position
        ]
        if moving:
            read = await self._ends([marks[index] for index in moving], with_copies=True)
            for index, end in zip(moving, read, strict=True):
                ends[index] = end
        return ends

    async def _ends(self, marks: Sequence[Watermark], *, with_copies: bool) -> list[End]:
        """The ends, with the last event in place of the copy where `with_copies` is false."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        for mark in marks:
            key, identifier = outbox_key(mark.partition), stream_id(mark.position)
            pipeline.hget(partition_keys(mark.partition)[0], "run_id")
            pipeline.xrevrange(key, count=1)
            if with_copies:
                pipeline.xrange(key, identifier, identifier)
        server, *answers = map(_found, await pipeline.execute(raise_on_error=False))
        trusted = server["run_id"].encode()
        each = len(answers) // len(marks) if marks else 0
        ends = []
        for index, mark in enumerate(marks):
            run_id, last, *same = answers[each * index : each * (index + 1)]
            tails = entries_of(mark.partition, last)
            copies = entries_of(mark.partition, same[0]) if same else tails
            copy, tail = copies[0] if copies else None, tails[0].position if tails else None
            ends.append(End(copy, tail, run_id == trusted))
        return ends

    async def recall(self, partitions: Sequence[PartitionId]) -> list[Recalled]:
        """What each partition remembers; nothing where it has no readable `meta`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        for partition in partitions:
            pipeline.hmget(partition_keys(partition)[0], ("run_id", "state", *MEMORY_FIELDS))
        server, *answers = map(_found, await pipeline.execute(raise_on_error=False))
        trusted = server["run_id"].encode()
        recalled = []
        for fields in answers:
            run_id, state, *remembered = fields or (None,) * (2 + len(MEMORY_FIELDS))
            memory = memory_of(remembered)
            recalled.append(Recalled(memory, (state or b"").decode(), run_id == trusted))
        return recalled


def _found(answer: Any) -> Any:
    """One answer of a pipeline; None for a key of another type, which is damaged."""
    if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer
