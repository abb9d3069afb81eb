"""A hold that an answer called over is over for good: Redis may die right after the answer.

No sweeper runs here, so the answer itself is all there is of the expiry when Redis dies.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from config.settings import Settings
from config.stack.redis import RedisServer
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Reservation, ReservationState
from order_writer.service import run as run_order_writer
from reconciler.by_hand import run_once
from tests.support.sales.partitions import BOUNDS, one_item, open_store, token_of
from tests.support.sales.pipeline import create_sale, running
from tests.support.sales.reserving import reserve
from tests.support.servers import patient_redis, unique
from tests.support.waiting import WAIT_SECONDS, wait_until

BUYER = "ann"
TOKEN = token_of(BUYER)
PAYMENT = "pay-1"

Call = Callable[[ReservationStore, PartitionId], Awaitable[bool]]


async def read_says_so(store: ReservationStore, partition: PartitionId) -> bool:
    (found,) = await store.read(partition, [TOKEN])
    return found is not None and found.state == ReservationState.EXPIRED


async def confirm_says_so(store: ReservationStore, partition: PartitionId) -> bool:
    return (await store.confirm(partition, TOKEN, PAYMENT)).outcome == "hold_expired"


async def cancel_says_so(store: ReservationStore, partition: PartitionId) -> bool:
    return (await store.cancel(partition, TOKEN, BUYER)).outcome == "hold_expired"


async def extend_says_so(store: ReservationStore, partition: PartitionId) -> bool:
    return (await store.extend(partition, TOKEN, 1000)).outcome == "hold_expired"


async def replay_says_so(store: ReservationStore, partition: PartitionId) -> bool:
    replay = (await reserve(store, partition, BUYER)).detail
    return isinstance(replay, Reservation) and replay.state == ReservationState.EXPIRED


CALLS = (read_says_so, confirm_says_so, cancel_says_so, extend_says_so, replay_says_so)


@pytest_asyncio.fixture
async def server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """A Redis of this test's own, to be killed."""
    started = RedisServer(servers_folder / unique("redis"))
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def own(settings: Settings, server: RedisServer) -> Settings:
    return settings.model_copy(update={"redis": patient_redis(server.url)})


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.partition("_")[0])
async def test_an_expiry_that_was_answered_is_not_taken_back(
    own: Settings, server: RedisServer, call: Call
) -> None:
    ledger = await asyncpg.connect(own.postgres.dsn)
    async with open_store(own.redis) as (pool, store), running(run_order_writer, own):
        partition = await create_sale(ledger, unique("over"), one_item(1, hold_seconds=1))
        await open_sale(ledger, store, partition.sale_id, BOUNDS, actor="test")
        held = (await reserve(store, partition, BUYER)).detail
        assert isinstance(held, Reservation)
        await wait_until(lambda: time.time() * 1000 > held.deadline, "the hold is due")

        assert await call(store, partition)
        server.kill()
        assert await server.child.wait_exit(WAIT_SECONDS)
        await server.start()

        async def recovered() -> bool:
            return "recovered" in await run_once(own, "recover", partition.sale_id)

        await wait_until(recovered, "the partition is trusted again")
        await wait_until(lambda: pool.connected, "the store is connected again")
        assert await read_says_so(store, partition)
        assert await confirm_says_so(store, partition)
        snapshot = await store.snapshot(partition)
        assert (snapshot.accounts[0].held, snapshot.accounts[0].available) == (0, 1)
    await ledger.close()
