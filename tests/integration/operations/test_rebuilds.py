"""A reconciliation lists the rebuilds since the last reconciliation: losses on both sides."""

from pathlib import Path

from redis.asyncio import Redis

from config.settings import Settings
from config.stack.redis import RedisServer
from loadtest.verdict.run import verify
from tests.support.api import Api, serving
from tests.support.sales.pipeline import pipeline
from tests.support.sales.reconciliations import reconciliation
from tests.support.servers import patient_redis, unique
from tests.support.waiting import wait_until


async def reconciled(api: Api, sale: str) -> list[dict[str, object]]:
    """The rebuilds in the answer of a balanced reconciliation."""
    answer = await reconciliation(api, sale)
    assert (answer.status, answer.body["balanced"]) == (201, True), answer.raw
    rebuilds: list[dict[str, object]] = answer.body["rebuilds"]
    return rebuilds


async def test_a_rebuild_is_reported_by_the_next_reconciliation_and_by_no_other(
    settings: Settings, servers_folder: Path
) -> None:
    server = RedisServer(servers_folder / unique("redis"))
    await server.start()
    own = settings.model_copy(
        update={
            "redis": patient_redis(server.url),
            # No periodic comparison: the next one is the test's.
            "reconciler": settings.reconciler.model_copy(update={"compare_interval_seconds": 3600}),
        }
    )
    async with pipeline(own), serving(own) as api:
        sale = await api.open_sale()
        await api.held(sale, "ann")
        assert await reconciled(api, sale) == []
        client = Redis.from_url(server.url)
        await client.flushall()
        await client.aclose()

        async def is_back() -> bool:
            return (await api.reserve(sale, "ben", "key")).status == 201

        await wait_until(is_back, "the partition is rebuilt")
        (rebuild,) = await reconciled(api, sale)
        assert (rebuild["partition"], rebuild["epoch"]) == (0, 2)
        assert (rebuild["previous_epoch"], rebuild["previous_sequence"]) == (1, 3)
        assert await reconciled(api, sale) == []
    await server.stop()


async def test_a_sale_lost_before_the_ledger_heard_of_it_begins_with_its_stock(
    settings: Settings, servers_folder: Path
) -> None:
    server = RedisServer(servers_folder / unique("redis"))
    await server.start()
    own = settings.model_copy(update={"redis": patient_redis(server.url)})
    async with serving(own) as api:
        sale = await api.open_sale()
        client = Redis.from_url(server.url)
        await client.flushall()
        async with pipeline(own):

            async def is_back() -> bool:
                return (await api.reserve(sale, "ben", "key")).status == 201

            await wait_until(is_back, "the partition is rebuilt")

            async def holds() -> bool:
                return (await verify(sale, redis_url=server.url, dsn=own.postgres.dsn)).holds

            await wait_until(holds, "every invariant holds")
        await client.aclose()
    await server.stop()
