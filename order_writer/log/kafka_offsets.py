"""The consumer group's offsets against a ledger that may have come back older.

A committed offset says that a ledger has everything before it, and its metadata says which run of
the ledger that is (gateway/process/ledger_run.py). Another run may have less: then the topic
partition is read again from the first offset that the ledger may lack, and that offset is
committed, so that a restart does not jump ahead. Recovery (reconciler/rebuilding/log_end.py) goes
by offsets of the run that it works with, and by no other.

A ledger has less where no watermark has the offset just before the committed one. Where records at
the end left no trace in the ledger, because they were repeats or foreign, they are read again for
nothing; the ledger skips what it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import OffsetAndMetadata

from gateway.process.kafka import read_committed
from order_writer.log.event_log import Watermark

_place_of_key = DefaultPartitioner()  # as the relay's producer has it
_log = structlog.get_logger()


@dataclass(slots=True)
class LedgerOffsets:
    """Where the ledger is in the log, and which topic partitions were compared with it.

    Until a ledger is known, nothing is compared.
    """

    run: str = ""
    _marks: Sequence[Watermark] = ()
    _newest: Mapping[str, int] = field(default_factory=dict)
    _compared: set[TopicPartition] = field(default_factory=set)

    def rewind(self, run: str, marks: Sequence[Watermark], newest: Mapping[str, int]) -> None:
        """Another run of the ledger: every topic partition is to be compared with it."""
        self.run, self._marks, self._newest = run, marks, newest
        self.forget()

    def forget(self) -> None:
        """Another consumer: it may get other topic partitions."""
        self._compared = set()

    async def compare(self, consumer: AIOKafkaConsumer) -> frozenset[TopicPartition]:
        """Compare what the consumer was assigned since the last time; returns the topic partitions
        that it reads again. Raises what aiokafka raises; then compare with another consumer.
        """
        places = frozenset(consumer.assignment())
        self._compared &= places
        new = places - self._compared
        if not self.run or not new:
            return frozenset()
        again, offsets = set(), {}
        for place, committed in (await read_committed(consumer, new)).items():
            if committed.metadata == self.run:
                continue
            offset = committed.offset
            if offset > self._newest.get(_name(place), -1) + 1:
                offset = min(offset, await self._first_lacking(consumer, place))
            if offset < committed.offset:
                again.add(place)
                _log.warning(
                    "log_read_again", place=_name(place), committed=committed.offset, begin=offset
                )
            offsets[place] = OffsetAndMetadata(offset, self.run)
        if offsets:
            await consumer.commit(offsets)
        for place in again:
            consumer.seek(place, offsets[place].offset)
        self._compared |= new
        return frozenset(again)

    def of_run(self, fetched: Mapping[TopicPartition, int]) -> dict[TopicPartition, object]:
        """Offsets to commit, with the run that has everything before them."""
        return {place: OffsetAndMetadata(offset, self.run) for place, offset in fetched.items()}

    async def _first_lacking(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
        """The first offset that any live partition may lack."""
        numbers = sorted(consumer.partitions_for_topic(place.topic) or ())
        firsts = []
        for mark in self._marks:
            known = {offset.place: offset.number for offset in mark.offsets}
            if _name(place) in known:
                firsts.append(known[_name(place)] + 1)
            elif place.partition == _place_of_key(str(mark.partition).encode(), numbers, numbers):
                firsts.append(0)
        begin: int = (await consumer.beginning_offsets([place]))[place]
        return max(begin, min(firsts)) if firsts else self._newest.get(_name(place), -1) + 1


def _name(place: TopicPartition) -> str:
    """The place as the ledger stores it."""
    return f"{place.topic}:{place.partition}"
