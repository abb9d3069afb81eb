"""A Kafka topic: what it holds, what a relay sends, what an order writer fetches."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from config.settings import EventLogSettings
from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import OutboxEntry
from order_writer.log.event_log import Batch, EventLog, LogEntry
from tests.support.waiting import wait_until


async def read_topic(log: EventLogSettings) -> list[tuple[str, OutboxEntry]]:
    """Everything in the topic, by partition of the topic, with key and number."""
    consumer = AIOKafkaConsumer(bootstrap_servers=log.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(log.topic, number) for number in range(log.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                record = await consumer.getone(place)
                headers = dict(record.headers)
                position = Position(int(headers["epoch"]), int(headers["sequence"]))
                found.append((record.key.decode(), OutboxEntry(position, record.value)))
        return found
    finally:
        await consumer.stop()


async def produce(settings: EventLogSettings, entries: Sequence[LogEntry]) -> None:
    """Send entries as the relay does."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    await producer.start()
    try:
        for entry in entries:
            headers = [
                ("epoch", b"%d" % entry.position.epoch),
                ("sequence", b"%d" % entry.position.sequence),
            ]
            key = str(entry.partition).encode()
            await producer.send_and_wait(settings.topic, entry.raw, key=key, headers=headers)
    finally:
        await producer.stop()


async def fetched(log: EventLog, count: int) -> Batch:
    """Fetch until so many entries have come."""
    batch = Batch([], [])

    async def enough() -> bool:
        more = await log.fetch(100, 0.2)
        batch.entries.extend(more.entries)
        batch.foreign.extend(more.foreign)
        return len(batch.entries) + len(batch.foreign) >= count

    await wait_until(enough, f"{count} records")
    return batch
