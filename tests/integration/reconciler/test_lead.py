"""Who leads among several reconcilers: a frozen, a cut-off and a replaced leader."""

import asyncio
import signal
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from config.settings import MetricsSettings, Settings
from config.stack.redis import RedisServer
from config.stack.server import free_port
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.store import ReservationStore
from order_writer.service import run as run_order_writer
from reconciler.context import QUERIES
from reconciler.service import run as run_reconciler
from tests.support.command import process_of
from tests.support.network.proxy import FaultyProxy
from tests.support.sales.partitions import BOUNDS, one_item, open_store
from tests.support.sales.pipeline import create_sale, running
from tests.support.sales.reconciliations import reconciled
from tests.support.sales.reserving import reserve
from tests.support.servers import unique
from tests.support.waiting import wait_until


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ReservationStore]:
    async with open_store(settings.redis) as (_, opened):
        yield opened


@pytest_asyncio.fixture
async def partition(ledger: asyncpg.Connection, store: ReservationStore) -> PartitionId:
    """A sale whose holds last a second."""
    made = await create_sale(ledger, unique("lead"), one_item(100_000, hold_seconds=1))
    await open_sale(ledger, store, made.sale_id, BOUNDS, actor="test")
    return made


def with_metrics(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics": MetricsSettings(port=free_port())})


async def leads(settings: Settings) -> bool:
    """What a reconciler's own metrics say; False while it has none yet."""
    url = f"http://127.0.0.1:{settings.metrics.port}/metrics"
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            text = await reply.text()
    except aiohttp.ClientError:
        return False
    return any(
        sample.name == "dropgate_reconciler_active" and sample.value == 1
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


async def test_a_frozen_leader_is_replaced_and_due_holds_return_meanwhile(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
) -> None:
    """The lease's length and a standby's pause bound it to 4.5 s; measured: 3.6 s."""
    frozen_settings, other_settings = with_metrics(settings), with_metrics(settings)
    bought, enough = 0, asyncio.Event()

    async def buy() -> None:
        nonlocal bought
        while not enough.is_set():
            assert (await reserve(store, partition, f"buyer-{bought}")).outcome == "accepted"
            bought += 1

    async def settled_down() -> bool:
        account = (await store.snapshot(partition)).accounts[0]
        applied = await ledger.fetchval("SELECT sequence FROM watermarks")
        return account.held == 0 and applied == (await store.snapshot(partition)).sequence

    with process_of("reconciler", frozen_settings) as frozen:
        await wait_until(lambda: leads(frozen_settings), "the first leads")
        with process_of("reconciler", other_settings):
            async with running(run_order_writer, settings):
                buying = asyncio.ensure_future(buy())
                await wait_until(lambda: bought > 100)
                frozen.send_signal(signal.SIGSTOP)
                await wait_until(lambda: leads(other_settings), "the other leads")
                frozen.send_signal(signal.SIGCONT)

                async def one_leads() -> bool:
                    return [await leads(each) for each in (frozen_settings, other_settings)] == [
                        False,
                        True,
                    ]

                await wait_until(one_leads, "the frozen one knows that another leads")
                enough.set()
                await buying
                await wait_until(settled_down, "all holds have returned, and the ledger knows")
    assert await ledger.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await ledger.fetchval("SELECT stopped_reason FROM watermarks") is None
    assert await ledger.fetchval("SELECT count(*) FROM reservations") == bought


async def test_a_standby_returns_due_holds(
    settings: Settings, store: ReservationStore, partition: PartitionId
) -> None:
    """While the leader is frozen nobody else leads yet; units come back all the same."""
    leader_settings, standby_settings = with_metrics(settings), with_metrics(settings)

    async def returned() -> bool:
        return (await store.snapshot(partition)).accounts[0].held == 0

    with process_of("reconciler", leader_settings) as leader:
        await wait_until(lambda: leads(leader_settings), "the first leads")
        async with running(run_reconciler, standby_settings):
            leader.send_signal(signal.SIGSTOP)
            assert (await reserve(store, partition, "buyer")).outcome == "accepted"
            await wait_until(returned)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_leader_that_cannot_reach_redis_gives_up_the_lead(
    settings: Settings, partition: PartitionId, redis_server: RedisServer, *, silent: bool
) -> None:
    del partition
    async with FaultyProxy(urlsplit(redis_server.url).port or 0) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        redis = settings.redis.model_copy(update={"url": url, "socket_timeout_seconds": 1.0})
        cut_off = with_metrics(settings.model_copy(update={"redis": redis}))
        whole = with_metrics(settings)
        async with running(run_reconciler, cut_off):
            await wait_until(lambda: leads(cut_off), "the first leads")
            async with running(run_reconciler, whole):
                if silent:
                    proxy.hold_replies()
                else:
                    proxy.refuse()
                await wait_until(lambda: leads(whole), "the other leads")
                assert not await leads(cut_off)
                proxy.accept()
                proxy.pass_replies()


async def test_a_leader_that_stops_hands_over_and_a_lost_connection_costs_no_lead(
    settings: Settings, ledger: asyncpg.Connection, partition: PartitionId
) -> None:
    first, second = with_metrics(settings), with_metrics(settings)
    sessions = "FROM pg_stat_activity WHERE application_name = 'dropgate-reconciler'"
    async with running(run_order_writer, settings), running(run_reconciler, second):
        await wait_until(lambda: leads(second), "the second leads while it is alone")
        async with running(run_reconciler, first):
            ended = await ledger.fetch(f"SELECT pg_terminate_backend(pid) {sessions}")
            assert ended
            await wait_until(lambda: ledger.fetchval(f"SELECT count(*) = 2 {sessions}"))
            assert [await leads(each) for each in (first, second)] == [False, True]
    async with running(run_order_writer, settings), running(run_reconciler, first):
        await wait_until(lambda: leads(first), "the first leads")
        assert (await reconciled(ledger, partition.sale_id))["balanced"]


async def test_a_lease_is_taken_when_it_has_ended_or_its_clock_was_set_back(
    ledger: asyncpg.Connection,
) -> None:
    async def takes(name: str) -> bool:
        return await ledger.fetchval(QUERIES["take_lead"], name, 60.0) is not None

    assert await takes("one")
    assert await takes("one")
    assert not await takes("other")
    await ledger.execute(QUERIES["give_up_lead"], "other")  # not its own: stays
    assert not await takes("other")
    await ledger.execute(QUERIES["give_up_lead"], "one")
    assert await takes("other")
    await ledger.execute("UPDATE reconciler_lease SET expires_at = now() + interval '1 hour'")
    assert await takes("one")
    assert not await takes("other")
