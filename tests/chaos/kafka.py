"""The topic of a running `dropgate up --event-log kafka`, looked at and tampered with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.support.up import Up

TOPIC = "dropgate.reservations"
TIMEOUT_SECONDS = 60.0


class Record(msgspec.Struct, frozen=True):
    """What matters of a Kafka record."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@asynccontextmanager
async def _consumer(up: Up) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=up.ready.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_sale(up: Up, sale_id: str) -> list[Record]:
    """Every record of the sale in the topic, from offset 0, repeats included."""
    async with asyncio.timeout(TIMEOUT_SECONDS), _consumer(up) as consumer:
        await consumer._client.force_metadata_update()
        numbers = consumer.partitions_for_topic(TOPIC) or set()
        places = [TopicPartition(TOPIC, number) for number in sorted(numbers)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                record = await consumer.getone(place)
                if record.key == f"{sale_id}:0".encode():
                    found.append(Record(record.key, record.value, tuple(record.headers)))
        return found


async def produce_again(up: Up, records: list[Record]) -> None:
    """Append the same records once more, in the same order."""
    producer = AIOKafkaProducer(bootstrap_servers=up.ready.kafka, acks="all")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await producer.start()
        try:
            for record in records:
                await producer.send(
                    TOPIC, record.value, key=record.key, headers=list(record.headers)
                )
            await producer.flush()
        finally:
            await producer.stop()
