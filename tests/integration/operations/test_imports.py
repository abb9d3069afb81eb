"""A ledger that comes back older is imported by the processes themselves, while a sale goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from config.settings import EventLogSettings, Settings
from config.stack.redis import RedisServer
from gateway.inventory.keys import PartitionId, outbox_key, partition_keys
from gateway.relay.service import run as run_relay
from loadtest.verdict.run import verify
from tests.support.api import Api, serving
from tests.support.sales.older_ledger import back_up, put_back
from tests.support.sales.pipeline import keeping, pipeline, running
from tests.support.sales.reconciliations import reconciliation
from tests.support.servers import patient_redis, unique
from tests.support.waiting import WAIT_SECONDS, wait_until

Pair = tuple[int, int]


@pytest_asyncio.fixture
async def server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """A Redis of this test's own, to be killed."""
    started = RedisServer(servers_folder / unique("redis"))
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def own(settings: Settings, server: RedisServer) -> Settings:
    """Outboxes are trimmed at once, and no comparison comes but the test's."""
    rare = settings.reconciler.model_copy(update={"compare_interval_seconds": 3600})
    changes = {"redis": patient_redis(server.url), "reconciler": rare}
    return keeping(settings.model_copy(update=changes), 0.0, 0)


class Drop:
    """A sale over HTTP, with a look at both of its sides."""

    def __init__(self, api: Api, sale: str, ledger: asyncpg.Connection, redis: Redis) -> None:
        self.api, self.sale, self.ledger, self.redis = api, sale, ledger, redis
        self.partition = PartitionId(sale, 0)

    async def sell(self, name: str) -> str:
        """An order that is paid for; its id."""
        order = await self.api.held(self.sale, name)
        path = f"/v1/reservations/{order}/confirm"
        paid = await self.api.storefront("POST", path, {"payment_reference": f"pay-{name}"})
        assert paid.status == 200, paid.raw
        return order

    async def in_redis(self) -> Pair:
        epoch, sequence = await self.redis.hmget(
            partition_keys(self.partition)[0], ["epoch", "sequence"]
        )
        return int(epoch or 0), int(sequence or 0)

    async def in_ledger(self) -> Pair:
        row = await self.ledger.fetchrow("SELECT epoch, sequence FROM watermarks")
        assert row is not None
        return row["epoch"], row["sequence"]

    async def applied(self) -> bool:
        return await self.in_ledger() == await self.in_redis()

    async def trimmed(self) -> bool:
        return await self.applied() and await self.redis.xlen(outbox_key(self.partition)) == 1

    async def imports(self) -> int:
        return int(await self.ledger.fetchval("SELECT count(*) FROM ledger_imports"))


@asynccontextmanager
async def older(settings: Settings, ledger: asyncpg.Connection) -> AsyncIterator[Drop]:
    """A sale that goes on, with an older ledger; the events in between are nowhere."""
    redis = Redis.from_url(settings.redis.url)
    async with serving(settings) as api:
        drop = Drop(api, await api.open_sale(), ledger, redis)
        async with pipeline(settings):
            await drop.sell("early")
            await wait_until(drop.applied, "the ledger has all")
            await back_up(ledger)
            await drop.sell("lost")
            await wait_until(drop.trimmed, "the outbox has nothing beyond the ledger")
        await put_back(ledger)
        yield drop
    await redis.aclose()


async def _imports(drop: Drop) -> list[dict[str, int]]:
    """What the next reconciliation lists; it must be balanced."""
    answer = await reconciliation(drop.api, drop.sale)
    assert (answer.status, answer.body["balanced"]) == (201, True), answer.raw
    imports: list[dict[str, int]] = answer.body["imports"]
    return imports


async def _holds(drop: Drop, settings: Settings) -> None:
    dsn, url = settings.postgres.dsn, settings.redis.url
    verdict = await verify(drop.sale, redis_url=url, dsn=dsn, drain_timeout_seconds=WAIT_SECONDS)
    assert verdict.holds, [finding for finding in verdict.findings if finding.examples]


async def test_an_older_ledger_is_imported_and_reported_by_the_next_reconciliation(
    own: Settings, ledger: asyncpg.Connection
) -> None:
    async with older(own, ledger) as drop:
        order = await drop.sell("late")
        last = await drop.in_ledger()
        async with pipeline(own):
            await drop.sell("later")
            await wait_until(drop.applied, "the ledger has all")
            (found,) = await _imports(drop)
            assert (found["after_epoch"], found["after_sequence"]) == last
            assert (found["partition"], found["reservations"]) == (0, 1)
            assert await _imports(drop) == []
            await _holds(drop, own)
            shown = await drop.api.storefront("GET", f"/v1/orders/{order}")
            assert (shown.body["status"], shown.body["payment_reference"]) == (
                "CONFIRMED",
                "pay-late",
            )
        actions = await ledger.fetch("SELECT actor FROM audit_log WHERE action = 'ledger_import'")
        assert [row["actor"] for row in actions] == ["order_writer"]


async def test_a_redis_that_restarts_meanwhile_is_recovered_after_the_import(
    own: Settings, ledger: asyncpg.Connection, server: RedisServer
) -> None:
    async with older(own, ledger) as drop:
        server.kill()
        assert await server.child.wait_exit(WAIT_SECONDS)
        await server.start()
        await drop.redis.connection_pool.disconnect()
        async with pipeline(own):

            async def sells() -> bool:
                return (await drop.api.reserve(drop.sale, "after", "key")).status == 201

            await wait_until(sells, "the partition is recovered")
            await wait_until(drop.applied, "the ledger has all")
            assert await drop.imports() == 1
            assert (await drop.in_redis())[0] == 2
            await _holds(drop, own)


async def test_a_log_that_lacks_the_events_makes_no_difference(
    own: Settings, ledger: asyncpg.Connection, kafka_event_log: EventLogSettings
) -> None:
    """Kafka is new: its topic begins where the outbox does."""
    async with older(own, ledger) as drop:
        await drop.sell("late")
        on_kafka = own.model_copy(update={"event_log": kafka_event_log})
        async with running(run_relay, on_kafka), pipeline(on_kafka):
            await drop.sell("later")
            await wait_until(drop.applied, "the ledger has all")
            assert await drop.imports() == 1
            await _holds(drop, on_kafka)
