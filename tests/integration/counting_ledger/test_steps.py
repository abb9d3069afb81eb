"""Steps by the word of a ledger that has ceased to count since its process last asked.

So it is with a process that was frozen between the question and the step.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from gateway.admission.waiting_room.keys import every_room_key
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, partition_keys
from gateway.inventory.redis.ledger_fence import LedgerFence
from gateway.inventory.settled.retirement import retire
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import RepairAccount, RestoreCommit
from gateway.process.ledger_identity import IdentifiedConnection, LedgerIdentity
from tests.support.sales.partitions import one_item, open_sale, open_store
from tests.support.sales.pipeline import create_sale
from tests.support.sales.reserving import buy
from tests.support.servers import unique

SOLD = 5
Step = Callable[[ReservationStore, PartitionId, LedgerIdentity | None], Awaitable[object]]


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ReservationStore]:
    async with open_store(settings.redis) as (_, opened):
        yield opened


@pytest_asyncio.fixture
async def partition(store: ReservationStore) -> PartitionId:
    made = await open_sale(store, unique("counting"), one_item(100))
    await buy(store, made, 1, SOLD)
    return made


async def trim(
    store: ReservationStore, partition: PartitionId, by: LedgerIdentity | None
) -> object:
    return await store.trim(partition, Position(1, SOLD), by=by)


async def repair(
    store: ReservationStore, partition: PartitionId, by: LedgerIdentity | None
) -> object:
    at = (await store.snapshot(partition)).sequence
    change = RepairAccount("1:1", "test", 1, at, (1, 0, 0, 0, 1, 0, 0))
    return await store.repair(partition, 1, change, by=by)


async def recover(
    store: ReservationStore, partition: PartitionId, by: LedgerIdentity | None
) -> object:
    snapshot = await store.snapshot(partition)
    last = Position(snapshot.epoch, snapshot.sequence)
    return await store.recover(partition, 2, last, snapshot.read_at, by=by)


async def restore(
    store: ReservationStore, partition: PartitionId, by: LedgerIdentity | None
) -> object:
    commit = RestoreCommit(SOLD, SOLD, 1, SOLD, "open", 0)
    return await store.restore(partition, 2, commit, by=by)


async def contents(client: redis.asyncio.Redis, partition: PartitionId) -> list[object]:
    return [await client.dump(key) for key in partition_keys(partition)]


@pytest.mark.parametrize("step", [trim, repair, recover, restore])
async def test_nothing_changes_by_the_word_of_a_ledger_that_does_not_count(
    step: Step,
    store: ReservationStore,
    partition: PartitionId,
    redis_client: redis.asyncio.Redis,
    fence: LedgerFence,
    own: LedgerIdentity,
    promoted: LedgerIdentity,
) -> None:
    await fence.claim(own)
    await LedgerFence(redis_client).claim(promoted)
    before = await contents(redis_client, partition)
    with pytest.raises(Recovering, match=f"{promoted} counts"):
        await step(store, partition, own)
    assert await contents(redis_client, partition) == before
    await step(store, partition, promoted)


@pytest.mark.parametrize("step", [trim, repair, recover])
async def test_the_same_steps_change_the_partition_where_nobody_asks(
    step: Step,
    store: ReservationStore,
    partition: PartitionId,
    redis_client: redis.asyncio.Redis,
    fence: LedgerFence,
    promoted: LedgerIdentity,
) -> None:
    """The negative control: it is the question that kept them from it."""
    await fence.claim(promoted)
    before = await contents(redis_client, partition)
    await step(store, partition, None)
    assert await contents(redis_client, partition) != before


async def test_a_lease_that_redis_lost_is_nobodys(
    store: ReservationStore, partition: PartitionId, own: LedgerIdentity
) -> None:
    with pytest.raises(Recovering, match="no ledger counts"):
        await trim(store, partition, own)


async def test_no_keys_are_removed_by_the_word_of_a_ledger_that_does_not_count(
    settings: Settings,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
    fence: LedgerFence,
    own: LedgerIdentity,
    promoted: LedgerIdentity,
) -> None:
    connection = await asyncpg.connect(settings.postgres.dsn, connection_class=IdentifiedConnection)
    connection.identity = own
    partition = await create_sale(connection, unique("settled"), one_item(1))
    await open_sale(store, partition.sale_id, one_item(1))
    await connection.execute(
        "INSERT INTO watermarks (sale_id, partition, epoch, sequence) VALUES ($1, 0, 1, $2)",
        partition.sale_id,
        (await store.snapshot(partition)).sequence,
    )
    await connection.execute("UPDATE sales SET state = 'settled'")
    await connection.execute(
        "INSERT INTO settlements (sale_id, currency, settled_by) VALUES ($1, 'EUR', 'test')",
        partition.sale_id,
    )
    await fence.claim(promoted)
    with pytest.raises(Recovering, match=f"{own} does not count"):
        await retire(connection, redis_client, partition.sale_id, every_room_key)
    assert await redis_client.exists(outbox_key(partition))
    connection.identity = promoted
    assert await retire(connection, redis_client, partition.sale_id, every_room_key) == "removed"
    assert not await redis_client.exists(outbox_key(partition))
    await connection.close()
