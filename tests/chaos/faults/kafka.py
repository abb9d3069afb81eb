"""The topic of a running `dropgate up --event-log kafka`: read, and tampered with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.chaos.rig.trial import Trial
from tests.support.up import Up
from tests.support.waiting import WAIT_SECONDS

TOPIC = "dropgate.reservations"
GROUP = "dropgate-order-writer"


class Record(msgspec.Struct, frozen=True):
    """The parts of a Kafka record that the tests compare."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@asynccontextmanager
async def _consumer(
    up: Up, group: str | None = None
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """A consumer of the whole topic that commits nothing."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=up.ready.kafka,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        numbers = consumer.partitions_for_topic(TOPIC) or set()
        yield consumer, [TopicPartition(TOPIC, number) for number in sorted(numbers)]
    finally:
        await consumer.stop()


async def read_sale(up: Up, sale_id: str) -> list[Record]:
    """Every record of the sale in the topic, from offset 0, repeats included."""
    async with asyncio.timeout(WAIT_SECONDS), _consumer(up) as (consumer, places):
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                record = await consumer.getone(place)
                if record.key == f"{sale_id}:0".encode():
                    found.append(Record(record.key, record.value, tuple(record.headers)))
        return found


async def is_relayed(run: Trial) -> bool:
    """Whether Kafka has acknowledged everything that is in the sale's outbox."""
    async with run.redis() as redis:
        tail = await redis.xinfo_stream(f"{{{run.sale_id}:0}}:outbox")
        relayed = await redis.hget(f"{{{run.sale_id}:0}}:relay", "position")
    return bool(relayed == tail["last-generated-id"])


async def is_consumed(up: Up) -> bool:
    """Whether the order writers have committed every offset of the topic."""
    async with asyncio.timeout(WAIT_SECONDS), _consumer(up, GROUP) as (consumer, places):
        ends = await consumer.end_offsets(places)
        done = {place: await consumer.committed(place) or 0 for place in places}
        return bool(done == ends)


async def produce_again(up: Up, records: list[Record]) -> None:
    """Append the same records once more, in the same order."""
    producer = AIOKafkaProducer(bootstrap_servers=up.ready.kafka, acks="all")
    async with asyncio.timeout(WAIT_SECONDS):
        await producer.start()
        try:
            for record in records:
                await producer.send(
                    TOPIC, record.value, key=record.key, headers=list(record.headers)
                )
            await producer.flush()
        finally:
            await producer.stop()
