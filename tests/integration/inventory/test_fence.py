"""The fence: a server run that is not the trusted one writes nothing, until recovery trusts it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.stack.redis import RedisServer
from gateway.inventory.errors import InventoryError, Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Reservation
from tests.support.sales.partitions import (
    one_item,
    open_sale,
    open_store,
    token_of,
)
from tests.support.sales.reserving import reserve
from tests.support.servers import patient_redis
from tests.support.waiting import wait_until

NEXT_EPOCH = 2


@pytest_asyncio.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis this test may kill."""
    server = RedisServer(tmp_path / "redis")
    await server.start()
    yield server
    await server.stop()


async def restart(server: RedisServer, store: ReservationStore, partition: PartitionId) -> None:
    """Kill the server and wait until the store talks to its successor."""
    before = (await store.snapshot(partition)).run_id
    server.process.kill()
    await server.stop()
    await server.start()

    async def is_back() -> bool:
        try:
            return (await store.snapshot(partition)).run_id == before
        except InventoryError:
            return False

    await wait_until(is_back, "the store is connected again")


async def test_after_a_restart_every_write_is_refused_until_recovery(
    own_server: RedisServer, sale_id: str
) -> None:
    async with open_store(patient_redis(own_server.url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(10))
        accepted = await reserve(store, partition, "ada")
        await restart(own_server, store, partition)
        before = await store.snapshot(partition)
        token = token_of("ada")
        calls = {
            "reserve": lambda: reserve(store, partition, "bob"),
            "confirm": lambda: store.confirm(partition, token, "payment"),
            "cancel": lambda: store.cancel(partition, token, "ada"),
            "extend": lambda: store.extend(partition, token, 1000),
            "expire": lambda: store.expire(partition, 10),
            "adjust": lambda: store.adjust(partition, 1, 5, "found more", "ops"),
            "set_state": lambda: store.set_state(partition, "paused"),
            "trim": lambda: store.trim(partition, Position(1, 1)),
            "read": lambda: store.read(partition, [token]),
        }
        for name, call in calls.items():
            with pytest.raises(Recovering):
                await call()  # type: ignore[no-untyped-call]
            after = await store.snapshot(partition)
            assert after.accounts == before.accounts, name
            assert after.sequence == before.sequence, name

        closed = Position(before.epoch, before.sequence)
        assert await store.recover(partition, NEXT_EPOCH, closed, 0) == "recovered"
        assert await store.recover(partition, NEXT_EPOCH, closed, 0) == "already"
        retry = await reserve(store, partition, "ada")
        assert retry.outcome == "replayed"
        assert isinstance(retry.detail, Reservation)
        assert isinstance(accepted.detail, Reservation)
        assert retry.detail.token == accepted.detail.token
        assert (await reserve(store, partition, "bob")).outcome == "accepted"
        after = await store.snapshot(partition)
        assert (after.epoch, after.sequence) == (NEXT_EPOCH, 2)  # recover, reserve


async def test_an_outage_does_not_shorten_a_hold(own_server: RedisServer, sale_id: str) -> None:
    async with open_store(patient_redis(own_server.url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(10))
        accepted = await reserve(store, partition, "ada")
        assert isinstance(accepted.detail, Reservation)
        alive_at = (await store.snapshot(partition)).read_at
        await restart(own_server, store, partition)
        before = await store.snapshot(partition)
        closed = Position(before.epoch, before.sequence)
        assert await store.recover(partition, NEXT_EPOCH, closed, alive_at) == "recovered"
        after = await store.snapshot(partition)
        (found,) = await store.read(partition, [token_of("ada")])
        assert found is not None
        assert after.shift_ms > 0
        assert found.deadline == accepted.detail.deadline + after.shift_ms


@pytest.mark.parametrize("closed", [Position(1, 2), Position(1, 4), Position(2, 3)])
async def test_a_server_whose_last_event_is_not_the_ledgers_is_not_trusted(
    own_server: RedisServer, sale_id: str, closed: Position
) -> None:
    async with open_store(patient_redis(own_server.url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(10))
        await reserve(store, partition, "ada")  # 1-3
        await restart(own_server, store, partition)
        assert await store.recover(partition, 3, closed, 0) == "differs"
        with pytest.raises(Recovering):
            await reserve(store, partition, "bob")


async def test_another_store_learns_the_new_epoch_by_itself(
    own_server: RedisServer, sale_id: str
) -> None:
    settings = patient_redis(own_server.url)
    async with open_store(settings) as (_, store), open_store(settings) as (_, other):
        partition = await open_sale(store, sale_id, one_item(10))
        await reserve(other, partition, "ada")
        await restart(own_server, store, partition)
        snapshot = await store.snapshot(partition)
        closed = snapshot.position
        await store.recover(partition, NEXT_EPOCH, closed, 0)

        async def works() -> bool:
            try:
                return (await reserve(other, partition, "bob")).outcome in {"accepted", "replayed"}
            except InventoryError:
                return False

        await wait_until(works, "the other store follows")
