"""A look at many partitions shows which of them lack something, and where each of them is."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.redis import looks
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.store import ReservationStore
from tests.support.sales.partitions import one_item, open_sale, open_store, token_of
from tests.support.sales.reserving import reserve
from tests.support.servers import unique

COUNT = 5
KEYS = ("meta", "stock", "reservations", "buyers", "deadlines", "outbox")


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ReservationStore]:
    async with open_store(settings.redis) as (_, opened):
        yield opened


@pytest_asyncio.fixture
async def partitions(store: ReservationStore) -> list[PartitionId]:
    return [await open_sale(store, unique("look"), one_item(5)) for _ in range(COUNT)]


def key_of(partition: PartitionId, name: str) -> bytes:
    return partition_keys(partition)[KEYS.index(name)]


async def test_a_look_is_what_snapshots_are(
    store: ReservationStore,
    partitions: list[PartitionId],
    redis_client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "PARTITIONS_EACH", 2)
    for number, partition in enumerate(partitions):
        for buyer in range(number):
            await reserve(store, partition, f"buyer-{buyer}")
    await store.set_state(partitions[2], "paused")
    await store.cancel(partitions[1], token_of("buyer-0"), "buyer-0")
    sights = await store.look(partitions)
    run_id = await read_run_id(redis_client)
    for partition, sight in zip(partitions, sights, strict=True):
        assert sight is not None
        snapshot = await store.snapshot(partition)
        assert (sight.position, sight.state) == (snapshot.position, snapshot.state)
        assert sight.run_id == sight.server_run_id == snapshot.run_id == run_id
        assert sight.holds == bool(snapshot.accounts[0].held)
        assert 0 <= snapshot.read_at - sight.read_at < 60_000
    assert await store.look([]) == []


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("damage", ["missing", "another type"])
async def test_a_key_that_is_missing_or_of_another_type_is_seen(
    store: ReservationStore,
    partitions: list[PartitionId],
    redis_client: redis.asyncio.Redis,
    name: str,
    damage: str,
) -> None:
    key = key_of(partitions[1], name)
    await redis_client.delete(key)
    if damage == "another type":
        await redis_client.set(key, "damaged")
    found = [sight is None for sight in await store.look(partitions)]
    assert found == [False, True, False, False, False]


@pytest.mark.parametrize("field", ["run_id", "state", "epoch", "sequence"])
async def test_a_partition_that_does_not_say_where_it_is_is_not_whole(
    store: ReservationStore,
    partitions: list[PartitionId],
    redis_client: redis.asyncio.Redis,
    field: str,
) -> None:
    await redis_client.hdel(key_of(partitions[0], "meta").decode(), field)
    assert (await store.look(partitions))[0] is None
    await redis_client.hset(key_of(partitions[1], "meta").decode(), "epoch", "no number")
    assert (await store.look(partitions))[1] is None


@pytest.mark.parametrize("name", ["meta", "stock"])
async def test_a_field_that_is_gone_changes_the_shape(
    store: ReservationStore,
    partitions: list[PartitionId],
    redis_client: redis.asyncio.Redis,
    name: str,
) -> None:
    (before, *_) = await store.look(partitions)
    await reserve(store, partitions[0], "ann")
    (busy, *_) = await store.look(partitions)
    key = key_of(partitions[0], name).decode()
    await redis_client.hdel(key, "hold_ms" if name == "meta" else "sku:default:held")
    (after, *_) = await store.look(partitions)
    assert before is not None
    assert busy is not None
    assert after is not None
    assert before.shape == busy.shape != after.shape
