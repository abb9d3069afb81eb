"""Restoring a partition from records: what is there afterwards is what was there before."""

from typing import cast

import msgspec
import pytest
import redis.asyncio

from gateway.inventory.catalog import load_config
from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import (
    NO_LINES_ASKED,
    ConfirmedRecord,
    Record,
    ReservationState,
    RestoreBegin,
    RestoreChunk,
    RestoreCommit,
    ReturnedRecord,
    Snapshot,
    nested,
)
from tests.support.sales.partitions import BOUNDS, one_item, open_sale, open_store, token_of
from tests.support.sales.reserving import reserve
from tests.support.servers import patient_redis

# Without windows, since the stored records do not say when anything was given back.
SPEC = msgspec.structs.replace(one_item(50, limit=5), unpaid_window_seconds=0)
NEXT_EPOCH = 2
LONGEST = {10: Record, 11: ConfirmedRecord, 13: ReturnedRecord}


async def some_history(store: ReservationStore, sale_id: str) -> PartitionId:
    """Held, extended, cancelled, confirmed and returned reservations."""
    partition = await open_sale(store, sale_id, SPEC)
    for buyer in ("ada", "bob", "cleo", "dora", "eve"):
        assert (await reserve(store, partition, buyer)).outcome == "accepted"
    await store.extend(partition, token_of("ada"), 5000)
    await store.cancel(partition, token_of("bob"), "bob")
    await store.confirm(partition, token_of("cleo"), "paid-1")
    await store.confirm(partition, token_of("dora"), "paid-2")
    await store.return_units(
        partition,
        token_of("dora"),
        token_of("r"),
        NO_LINES_ASKED,
        restock=True,
        reason="broken",
        fingerprint="f",
    )
    await store.adjust(partition, 1, -3, "counted", "ops")
    return partition


async def stored(
    client: redis.asyncio.Redis, partition: PartitionId
) -> tuple[dict[bytes, bytes], ...]:
    """Every field of the keys that outlive a rebuild: stock, reservations, buyers, deadlines."""
    keys = partition_keys(partition)
    hashes = [cast("dict[bytes, bytes]", await client.hgetall(key)) for key in keys[1:4]]
    deadlines = cast(
        "list[tuple[bytes, float]]", await client.zrange(keys[4], 0, -1, withscores=True)
    )
    return (*hashes, {member: b"%r" % score for member, score in deadlines})


def records_of(reservations: dict[bytes, bytes]) -> list[tuple[str, Record]]:
    records = []
    for token, packed in reservations.items():
        if token:
            kind = LONGEST[len(msgspec.msgpack.decode(packed))]
            records.append((token.decode(), msgspec.msgpack.decode(packed, type=kind)))
    return records


def chunk_of(records: list[tuple[str, Record]]) -> RestoreChunk:
    """A chunk of reservations without admissions."""
    return RestoreChunk.of((token, nested(record), 0, 0) for token, record in records)


def begin(partition: PartitionId, snapshot: Snapshot) -> RestoreBegin:
    config = msgspec.Raw(load_config(SPEC, partition, BOUNDS))
    return RestoreBegin(config, tuple(msgspec.structs.astuple(a)[2:] for a in snapshot.accounts))


def commit(records: list[tuple[str, Record]], snapshot: Snapshot) -> RestoreCommit:
    held = sum(record.state == ReservationState.HELD for _, record in records)
    return RestoreCommit(
        len(records), held, snapshot.epoch, snapshot.sequence, snapshot.state, shift_ms=0
    )


async def test_a_partition_comes_back_field_by_field(
    redis_url: str, redis_client: redis.asyncio.Redis, sale_id: str
) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await some_history(store, sale_id)
        before, snapshot = await stored(redis_client, partition), await store.snapshot(partition)
        records = records_of(before[1])
        await redis_client.flushall()

        assert await store.restore(partition, NEXT_EPOCH, begin(partition, snapshot)) == "begun"
        with pytest.raises(Recovering):  # nobody is answered meanwhile
            await reserve(store, partition, "zoe")
        for chunk in (records[:3], records[3:], records[:3]):  # one chunk is sent twice
            assert await store.restore(partition, NEXT_EPOCH, chunk_of(chunk)) == "stored"
        done = commit(records, snapshot)
        assert await store.restore(partition, NEXT_EPOCH, done) == "restored"
        assert await store.restore(partition, NEXT_EPOCH, done) == "already"

        assert await stored(redis_client, partition) == before
        after = await store.snapshot(partition)
        assert (after.epoch, after.sequence, after.state) == (NEXT_EPOCH, 1, "open")
        assert after.accounts == snapshot.accounts
        assert (await reserve(store, partition, "ada")).outcome == "replayed"
        assert (await reserve(store, partition, "zoe")).outcome == "accepted"


async def test_a_rebuild_that_lacks_a_record_is_not_trusted(
    redis_url: str, redis_client: redis.asyncio.Redis, sale_id: str
) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await some_history(store, sale_id)
        snapshot = await store.snapshot(partition)
        records = records_of((await stored(redis_client, partition))[1])
        await store.restore(partition, NEXT_EPOCH, begin(partition, snapshot))
        await store.restore(partition, NEXT_EPOCH, chunk_of(records[1:]))
        done = commit(records, snapshot)
        assert await store.restore(partition, NEXT_EPOCH, done) == "differs"
        with pytest.raises(Recovering):
            await reserve(store, partition, "zoe")
        await store.restore(partition, NEXT_EPOCH, chunk_of(records[:1]))
        assert await store.restore(partition, NEXT_EPOCH, done) == "restored"


async def test_an_older_rebuild_gives_way(redis_url: str, sale_id: str) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await some_history(store, sale_id)
        snapshot = await store.snapshot(partition)
        first = begin(partition, snapshot)
        assert await store.restore(partition, 3, first) == "begun"
        assert await store.restore(partition, 2, first) == "newer"
        assert await store.restore(partition, 4, chunk_of([])) == "not_begun"
