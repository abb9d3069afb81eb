"""What a Kafka topic holds, read from its beginning."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from config.settings import EventLogSettings
from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import OutboxEntry


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
