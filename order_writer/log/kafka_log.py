"""Kafka as the event log.

The number of an event comes from the record's headers, its partition from the key. Offsets are
committed after the ledger's own commit; the ledger keeps them too, beside the watermark, so that an
event can be sought again. The client is known to go silent after a broker restart
and to hang while the broker is away: every wait has a deadline, a silent consumer is replaced.
"""

import re
import time
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from config.settings import EventLogSettings
from gateway.inventory.keys import SALE_ID, PartitionId
from gateway.process.kafka import FAULTS, kafka_within, stop_client
from order_writer.log.event_log import (
    Batch,
    Foreign,
    LogEntry,
    LogOffset,
    Watermark,
    parse_position,
)
from order_writer.log.kafka_offsets import LedgerOffsets

PATIENCE_SECONDS = 2.0
START_TIMEOUT_SECONDS = 15.0
COMMIT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 5.0
REWIND_TIMEOUT_SECONDS = 30.0
MAX_POLL_RECORDS = 2000

_KEY = re.compile(rb"([a-z0-9-]{1,64}):(0|[1-9]\d{0,3})")
_log = structlog.get_logger()


def read_record(record: "ConsumerRecord[bytes, bytes]") -> LogEntry | Foreign:
    """A record as an entry; a record without a valid key or number is foreign."""
    place = f"{record.topic}:{record.partition}"
    raw = record.value or b""
    headers = dict(record.headers)
    partition = _partition_of(record.key or b"")
    position = parse_position(headers.get("epoch", b"") + b"-" + headers.get("sequence", b""))
    if partition is None or position is None:
        missing = "key" if partition is None else "epoch and sequence"
        return Foreign(f"{place}:{record.offset}", f"the record has no {missing} of ours", raw)
    offset = LogOffset(place, record.offset)
    return LogEntry(partition, position, raw, offset, headers.get("traceparent"))


def _partition_of(key: bytes) -> PartitionId | None:
    match = _KEY.fullmatch(key)
    if match is None or SALE_ID.fullmatch(match[1].decode()) is None:
        return None
    return PartitionId(match[1].decode(), int(match[2]))


class KafkaLog:
    """An EventLog over one topic and one consumer group."""

    patience_seconds = PATIENCE_SECONDS

    def __init__(self, settings: EventLogSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._fetched: dict[TopicPartition, int] = {}
        self._offsets = LedgerOffsets()
        self._heard_at = time.monotonic()

    def follow(self, marks: Sequence[Watermark]) -> None:
        """Changes nothing: the topic has the events of every partition, and the ledger decides."""
        del marks

    async def fetch(self, most_entries: int, wait_seconds: float) -> Batch:
        """At most `most_entries`; replaces a consumer that is silent while there are records."""
        consumer = await self._started()
        try:
            # The client may hang inside: its own time-out is not to be trusted.
            async with kafka_within(wait_seconds + SILENCE_SECONDS):
                answer = await consumer.getmany(
                    timeout_ms=int(wait_seconds * 1000), max_records=most_entries
                )
            async with kafka_within(REWIND_TIMEOUT_SECONDS):
                again = await self._offsets.compare(consumer)
        except FAULTS:
            # Records in hand may be gone: the next consumer begins at the committed offsets.
            await self.close()
            raise
        batch = Batch([], [])
        for place, records in answer.items():
            if place in again:
                continue
            for record in records:
                read = read_record(record)
                if isinstance(read, Foreign):
                    batch.foreign.append(read)
                else:
                    batch.entries.append(read)
            self._fetched[place] = records[-1].offset + 1
        if answer:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > SILENCE_SECONDS:
            await self._look_for_silence(consumer)
        return batch

    async def commit(self) -> None:
        """Commit what was fetched. After a failure the consumer is replaced, so that records come
        again and are committed: recovery waits for the offsets, and no new record may come.
        """
        if self._consumer is None or not self._fetched:
            return
        fetched, self._fetched = self._fetched, {}
        try:
            async with kafka_within(COMMIT_TIMEOUT_SECONDS):
                for place in await self._offsets.compare(self._consumer):
                    fetched.pop(place, None)
                if fetched:
                    await self._consumer.commit(self._offsets.of_run(fetched))
        except FAULTS as error:
            _log.warning("offset_commit_failed", error=repr(error))
            await self.close()

    def rewind(self, run: str, marks: Sequence[Watermark], newest: Mapping[str, int]) -> None:
        """Before the next fetch or commit, the group's offsets are compared with this ledger."""
        self._offsets.rewind(run, marks, newest)

    async def refetch(self, mark: Watermark, most_entries: int) -> list[LogEntry]:
        """Events beyond the watermark, from a second reader rewound to where the ledger was."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=MAX_POLL_RECORDS,
        )
        try:
            async with kafka_within(REWIND_TIMEOUT_SECONDS):
                await consumer.start()
                return await self._scan(consumer, mark, most_entries)
        finally:
            await stop_client(consumer)

    async def _scan(
        self, consumer: AIOKafkaConsumer, mark: Watermark, most_entries: int
    ) -> list[LogEntry]:
        topic = self._settings.topic
        known = {offset.place: offset.number for offset in mark.offsets}
        numbers = await _partitions(consumer, topic)
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        starts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
        for place in places:
            last = known.get(f"{place.topic}:{place.partition}", -1)
            consumer.seek(place, min(max(last + 1, starts[place]), ends[place]))
        if known:  # a key stays where it is, so the other topic partitions need no look
            places = [p for p in places if f"{p.topic}:{p.partition}" in known] or places
        found: list[LogEntry] = []
        for place in places:
            while len(found) < most_entries and await consumer.position(place) < ends[place]:
                answer = await consumer.getmany(place, timeout_ms=1000)
                for record in answer.get(place, []):
                    read = read_record(record)
                    if (
                        isinstance(read, LogEntry)
                        and read.partition == mark.partition
                        and read.position > mark.position
                    ):
                        found.append(read)
        return found[:most_entries]

    async def close(self) -> None:
        """Leave the group; a client that hangs is abandoned."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer)

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        consumer = AIOKafkaConsumer(
            self._settings.topic,
            bootstrap_servers=self._settings.bootstrap,
            group_id=self._settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=MAX_POLL_RECORDS,
            session_timeout_ms=10_000,
            request_timeout_ms=self._settings.request_timeout_milliseconds,
        )
        try:
            async with kafka_within(START_TIMEOUT_SECONDS):
                await consumer.start()
        except BaseException:
            await stop_client(consumer)
            raise
        self._consumer, self._fetched = consumer, {}
        self._offsets.forget()
        self._heard_at = time.monotonic()
        return consumer

    async def _look_for_silence(self, consumer: AIOKafkaConsumer) -> None:
        """Nothing for a while: replace the consumer unless it is at the end of its partitions."""
        self._heard_at = time.monotonic()
        try:
            async with kafka_within(SILENCE_SECONDS):
                places = consumer.assignment()
                ends = await consumer.end_offsets(places) if places else {}
                behind = [p for p in places if await consumer.position(p) < ends[p]]
        except FAULTS as error:
            _log.warning("consumer_replaced", reason=repr(error))
        else:
            if not behind and places:
                return
            _log.warning("consumer_replaced", reason="silent", behind=len(behind))
        await self.close()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    numbers: set[int] | None = consumer.partitions_for_topic(topic)
    if numbers:
        return numbers
    await consumer._client.force_metadata_update()  # noqa: SLF001
    return consumer.partitions_for_topic(topic) or set()
