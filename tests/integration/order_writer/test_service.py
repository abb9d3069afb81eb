"""The order writer's process on real servers: outages, notices, crashes between two commits."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from config.settings import PostgresSettings, RedisSettings, Settings
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.store import ReservationStore
from order_writer.service import run
from tests.support.network.proxy import FaultyProxy
from tests.support.sales.history import SKU, History, Rig, everything, open_rig
from tests.support.sales.partitions import BOUNDS, one_item, token_of
from tests.support.sales.pipeline import create_sale, running
from tests.support.sales.reserving import reserve
from tests.support.waiting import wait_until


@pytest_asyncio.fixture
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    async with open_rig(settings) as opened:
        yield opened


async def _buy(store: ReservationStore, partition: PartitionId, first: int, count: int) -> None:
    for number in range(first, first + count):
        assert (await reserve(store, partition, f"buyer-{number}")).outcome == "accepted"


async def _reaches(ledger: asyncpg.Connection, partition: PartitionId, count: int) -> None:
    async def reached() -> bool:
        found = await ledger.fetchval(
            "SELECT count(*) FROM reservations WHERE sale_id = $1", partition.sale_id
        )
        return bool(found == count)

    await wait_until(reached, f"{count} reservations in the ledger")


async def test_the_ledger_is_the_snapshot(
    settings: Settings, rig: Rig, store: ReservationStore, sale_id: str
) -> None:
    async with running(run, settings):
        partition = await create_sale(rig.ledger, sale_id, one_item(50))
        await open_sale(rig.ledger, store, sale_id, BOUNDS, actor="test")
        await _buy(store, partition, 0, 20)
        await store.confirm(partition, token_of("buyer-1"), "pay-1")
        await store.cancel(partition, token_of("buyer-2"), "buyer-2")
        await store.adjust(partition, 1, 7, "count", "ops")
        await _reaches(rig.ledger, partition, 20)

        async def equal() -> bool:
            snapshot = await store.snapshot(partition)
            row = await rig.ledger.fetchrow(
                "SELECT w.epoch, w.sequence, a.loaded, a.adjusted, a.available, a.held, a.sold"
                " FROM watermarks w JOIN stock_accounts a USING (sale_id, partition)"
                " WHERE w.sale_id = $1",
                sale_id,
            )
            (counters,) = snapshot.accounts
            return row is not None and tuple(row) == (
                snapshot.epoch, snapshot.sequence, counters.loaded, counters.adjusted,
                counters.available, counters.held, counters.sold,
            )  # fmt: skip

        await wait_until(equal, "ledger and snapshot agree")
    assert await rig.letters() == []


@asynccontextmanager
async def _behind_proxies(
    settings: Settings,
) -> AsyncIterator[tuple[Settings, FaultyProxy, FaultyProxy]]:
    """This test's servers, reached through proxies of Redis and of Postgres."""
    async with AsyncExitStack() as stack:
        redis_at, postgres_at = urlsplit(settings.redis.url), urlsplit(settings.postgres.dsn)
        assert redis_at.port is not None
        assert postgres_at.port is not None
        redis = await stack.enter_async_context(FaultyProxy(redis_at.port))
        postgres = await stack.enter_async_context(FaultyProxy(postgres_at.port))
        through = settings.model_copy(
            update={
                "redis": RedisSettings(
                    url=settings.redis.url.replace(f":{redis_at.port}", f":{redis.port}"),
                    socket_timeout_seconds=0.5,
                ),
                "postgres": PostgresSettings(
                    dsn=settings.postgres.dsn.replace(f":{postgres_at.port}", f":{postgres.port}"),
                    command_timeout_seconds=1.0,
                ),
            }
        )
        yield through, redis, postgres


async def test_outages_of_redis_and_postgres_are_survived(
    settings: Settings, rig: Rig, store: ReservationStore, sale_id: str
) -> None:
    partition = await create_sale(rig.ledger, sale_id, one_item(100))
    await open_sale(rig.ledger, store, sale_id, BOUNDS, actor="test")
    async with _behind_proxies(settings) as (through, redis, postgres), running(run, through):
        await _buy(store, partition, 0, 5)
        await _reaches(rig.ledger, partition, 5)
        for count, proxy in ((10, redis), (20, postgres)):
            proxy.cut()
            await _buy(store, partition, count - 5, 5)
            await _reaches(rig.ledger, partition, count)
            proxy.hold_replies()
            await _buy(store, partition, count, 5)
            proxy.cut()
            proxy.pass_replies()
            await _reaches(rig.ledger, partition, count + 5)
    assert await rig.letters() == []


async def test_a_crash_after_the_ledgers_commit_applies_nothing_twice(
    settings: Settings, rig: Rig, sale_id: str
) -> None:
    """The next process reads again what the last one had committed without telling the log."""
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.put(history.entries)
    await rig.writer.apply(history.entries[:9])
    rig.writer.log.follow([])  # its place is lost with it
    async with running(run, settings):
        await _applied(rig, history)
    expected = await rig.dump()
    await rig.writer.apply(history.entries)
    assert await rig.dump() == expected


async def test_a_replay_is_served_on_notify(settings: Settings, rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.adjust(5, sku="boot")
    await rig.put(history.entries)
    async with running(run, settings):
        await _applied(rig, history)
        assert await rig.letters() == [(2, "refused", "dead")]
        await rig.ledger.execute(
            "INSERT INTO sale_items (sale_id, sku, position, name, price_amount, per_buyer_limit,"
            " floor) VALUES ($1, 'boot', 2, 'Boot', 1, 1, 0)",
            sale_id,
        )
        await rig.ledger.execute(
            "INSERT INTO stock_accounts (sale_id, partition, sku, location, position, floor,"
            " loaded, available) VALUES ($1, 0, 'boot', 'default', 2, 0, 0, 0)",
            sale_id,
        )
        await rig.ledger.execute("UPDATE dead_letters SET status = 'replay_requested'")
        await rig.ledger.execute("SELECT pg_notify('dropgate_writer', '1')")

        async def replayed() -> bool:
            return await rig.letters() == [(2, "refused", "replayed")]

        await wait_until(replayed, "the replay was served")
    available = await rig.ledger.fetchval(
        "SELECT available FROM stock_accounts WHERE sku <> $1", SKU
    )
    assert available == 5


async def _applied(rig: Rig, history: History) -> None:
    async def reached() -> bool:
        return (await rig.position(history)).sequence == history.sequence

    await wait_until(reached, "the watermark is at the end of the history")
