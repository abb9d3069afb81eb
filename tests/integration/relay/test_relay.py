"""The relay on real servers: every event reaches Kafka in order, untouched, whatever restarts."""

import asyncio
from functools import partial

import asyncpg
import redis.asyncio

from config.settings import Settings
from config.stack.kafka import KafkaServer
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, relay_key
from gateway.inventory.opening import open_sale
from gateway.inventory.redis.outbox import read_outbox
from gateway.inventory.store import ReservationStore
from gateway.relay.service import run as run_relay
from order_writer.service import run as run_order_writer
from reconciler.service import run as run_reconciler
from tests.support.sales.partitions import BOUNDS, one_item
from tests.support.sales.pipeline import create_sale, keeping, running
from tests.support.sales.reserving import buy
from tests.support.sales.topic import read_topic
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

START = Position(0, 0)


async def open_partition(ledger: asyncpg.Connection, store: ReservationStore) -> PartitionId:
    partition = await create_sale(ledger, unique("relay"), one_item(10_000))
    await open_sale(ledger, store, partition.sale_id, BOUNDS, actor="test")
    return partition


async def relayed(client: redis.asyncio.Redis, partition: PartitionId, sequence: int) -> bool:
    return bool(await client.hget(relay_key(partition), "position") == b"1-%d" % sequence)


async def test_events_of_every_partition_arrive_in_order_and_untouched(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
) -> None:
    partitions = [await open_partition(ledger, store) for _ in range(3)]
    async with running(run_relay, on_kafka):
        for partition in partitions:
            await buy(store, partition, 0, 50)
        for partition in partitions:
            await wait_until(partial(relayed, redis_client, partition, 52))
    topic = await read_topic(on_kafka.event_log)
    for partition in partitions:
        outbox = await read_outbox(redis_client, partition, START, 1000)
        assert len(outbox) == 52  # the relay never trims
        assert [entry for key, entry in topic if key == str(partition)] == outbox


async def test_a_relay_that_restarts_goes_on_without_a_gap(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await open_partition(ledger, store)
    async with running(run_relay, on_kafka):
        await buy(store, partition, 0, 20)
        await wait_until(lambda: relayed(redis_client, partition, 22))
    await buy(store, partition, 20, 20)
    # As if the last relay had died between the log's acknowledgement and its own note of it.
    await redis_client.hset(relay_key(partition), "position", "1-12")
    async with running(run_relay, on_kafka):
        await wait_until(lambda: relayed(redis_client, partition, 42))
    topic = [entry.position.sequence for _, entry in await read_topic(on_kafka.event_log)]
    assert topic == [*range(1, 23), *range(13, 43)]


async def test_events_wait_out_a_kafka_that_dies(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
    kafka_server: KafkaServer,
) -> None:
    partition = await open_partition(ledger, store)
    async with running(run_relay, on_kafka):
        await buy(store, partition, 0, 20)
        await wait_until(lambda: relayed(redis_client, partition, 22))
        kafka_server.kill()
        assert await kafka_server.child.wait_exit(WAIT_SECONDS)
        await buy(store, partition, 20, 20)
        assert not await relayed(redis_client, partition, 42)
        await kafka_server.start()
        await wait_until(lambda: relayed(redis_client, partition, 42))
    topic = [entry for _, entry in await read_topic(on_kafka.event_log)]
    first_copies = list(dict.fromkeys(topic))
    assert first_copies == await read_outbox(redis_client, partition, START, 1000)


async def test_the_whole_way_through_kafka_ends_in_the_ledger(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await open_partition(ledger, store)
    async with (
        running(run_relay, on_kafka),
        running(run_order_writer, on_kafka),
        running(run_reconciler, keeping(on_kafka, 0.0)),
    ):
        await asyncio.gather(*(buy(store, partition, 100 * lane, 50) for lane in range(4)))

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 202)

        await wait_until(applied)

        async def trimmed() -> bool:
            return (await store.snapshot(partition)).outbox_length == 1

        await wait_until(trimmed)
        assert await ledger.fetchval("SELECT count(*) FROM reservations") == 200
        assert await relayed(redis_client, partition, 202)
