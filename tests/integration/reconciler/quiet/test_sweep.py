"""The sweep asks a partition when a hold of it may be due, and leaves it alone until then."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ExpireReply, ReservationStore
from reconciler.duties.directory import Directory, LivePartition
from reconciler.duties.expire import Expire, ExpireConfig
from tests.support.sales.partitions import BOUNDS, one_item, open_store
from tests.support.sales.pipeline import create_sale
from tests.support.sales.reserving import reserve
from tests.support.servers import unique
from tests.support.waiting import wait_until

TURNS = 20


class Looked(tuple[LivePartition, ...]):
    """Partitions, with a count of how often somebody went through all of them."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[LivePartition]:
        type(self).times += 1
        return super().__iter__()


class Counted(ReservationStore):
    """The store, with a count of the sweeps that it was asked for."""

    def __init__(self, pool: ScriptPool) -> None:
        super().__init__(pool)
        self.asked_for = Counter[PartitionId]()
        self.failing = set[PartitionId]()

    @property
    def asked(self) -> int:
        return self.asked_for.total()

    async def expire(self, partition: PartitionId, most: int) -> ExpireReply:
        self.asked_for[partition] += 1
        if partition in self.failing:
            raise Recovering("failing")
        return await super().expire(partition, most)


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[Counted]:
    async with open_store(settings.redis) as (scripts, _):
        yield Counted(scripts)


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(settings.postgres.dsn, min_size=0, max_size=2) as pool:
        yield pool


async def opened(
    settings: Settings, store: ReservationStore, hold_seconds: int, count: int = 1
) -> list[PartitionId]:
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        partitions = []
        for _ in range(count):
            sale = one_item(10, hold_seconds=hold_seconds)
            partitions.append(await create_sale(ledger, unique("sweep"), sale))
            await open_sale(ledger, store, partitions[-1].sale_id, BOUNDS, actor="test")
        return partitions
    finally:
        await ledger.close()


async def sweeper(ledger: asyncpg.Pool, store: Counted) -> Expire:
    directory = Directory(ledger)
    await directory.run_once()
    return Expire(store, directory, ExpireConfig(), lambda: True)


async def test_quiet_sales_are_asked_once_and_not_at_each_turn(
    settings: Settings, ledger: asyncpg.Pool, store: Counted
) -> None:
    count = 3
    partitions = await opened(settings, store, hold_seconds=600, count=count)
    await reserve(store, partitions[0], "ann")
    expire = await sweeper(ledger, store)
    for _ in range(TURNS):
        assert await expire.run_once() > 0
    assert store.asked == count


async def test_a_turn_does_not_go_through_the_sales_that_are_quiet(
    settings: Settings, ledger: asyncpg.Pool, store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Looked, "times", 0)
    await opened(settings, store, hold_seconds=600, count=3)
    directory = Directory(ledger)
    await directory.run_once()
    directory.partitions = Looked(directory.partitions)
    expire = Expire(store, directory, ExpireConfig(), lambda: True)
    for _ in range(TURNS):
        await expire.run_once()
    assert Looked.times == 1


async def test_a_sale_is_swept_from_its_opening_to_its_end_and_asked_again_after_a_failure(
    settings: Settings, ledger: asyncpg.Pool, store: Counted
) -> None:
    first, second = await opened(settings, store, hold_seconds=1, count=2)
    directory = Directory(ledger)
    expire = Expire(store, directory, ExpireConfig(), lambda: True)
    await expire.run_once()
    assert store.asked == 0
    await directory.run_once()
    store.failing = {first}
    await expire.run_once()
    assert store.asked == 2
    store.failing = set()
    await reserve(store, first, "ann")

    async def returned() -> bool:
        await expire.run_once()
        return expire.expired_holds == 1

    await wait_until(returned, "the sweep goes on where it failed")
    directory.partitions = tuple(live for live in directory.partitions if live.partition == second)
    asked = store.asked_for[first]

    async def swept_again() -> bool:
        await expire.run_once()
        return store.asked_for[second] > 2

    await wait_until(swept_again, "the other sale goes on")
    assert store.asked_for[first] == asked


async def test_a_hold_made_after_the_look_returns_when_it_is_due(
    settings: Settings, ledger: asyncpg.Pool, store: Counted
) -> None:
    (partition,) = await opened(settings, store, hold_seconds=1)
    expire = await sweeper(ledger, store)
    await expire.run_once()
    await reserve(store, partition, "ann")

    async def returned() -> bool:
        await expire.run_once()
        return expire.expired_holds == 1

    await wait_until(returned, "the hold is swept")
    assert (await store.snapshot(partition)).accounts[0].held == 0


@pytest.mark.parametrize(
    ("still_due", "next_deadline", "quiet_ms"),
    [
        (0, 0, 600_000),
        (0, 1_030_000, 30_000),
        (0, 1_900_000, 600_000),
        (7, 999_000, 0),
        (0, 990_000, 0),
    ],
)
def test_nothing_becomes_due_before_the_next_deadline_or_the_life_of_a_new_hold(
    still_due: int, next_deadline: int, quiet_ms: int
) -> None:
    reply = ExpireReply(0, still_due, next_deadline, 0, 0, 600_000, 1_000_000)
    assert reply.quiet_ms == quiet_ms
