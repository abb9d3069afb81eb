"""Limits and load at the door, over HTTP: who is refused, with which answer, and who is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import redis.asyncio

from config.settings import RateLimitSettings, Settings
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.process import postgres
from tests.support.api import Api, Reply, serving, token_of
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

HOT = "/v1/sales/{}/reservations"
GENERAL = "/v1/sales/{}/reservation%73"  # the same resource, on aiohttp's own way
# A lock is held for as long as a test takes.
UNHURRIED = {"idle_in_transaction_session_timeout": "0"}
ONE_SHIRT = b'{"lines":[{"sku":"shirt","quantity":1}]}'


def changed(settings: Settings, section: str, **values: object) -> Settings:
    """The settings with some values of one section replaced."""
    part = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: part})


async def reserve(api: Api, path: str, address: str, token: str = "") -> Reply:
    """A reserve by a buyer whose proxy says it is at this address."""
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": unique("key"),
        "X-Forwarded-For": f"198.51.100.77, {address}",
    }
    token = token or token_of("buyer", unique("buyer"))
    return await api.call("POST", path, token=token, data=ONE_SHIRT, headers=headers)


@pytest.mark.parametrize("way", [HOT, GENERAL])
async def test_a_network_has_its_limit_and_no_other_feels_it(settings: Settings, way: str) -> None:
    limits = RateLimitSettings(network_per_second=0.01, network_burst=3)
    settings = changed(settings, "gateway", trusted_proxies="127.0.0.0/8").model_copy(
        update={"rate_limit": limits}
    )
    async with serving(settings) as api:
        sale = await api.open_sale()
        path = way.format(sale)
        told = [await reserve(api, path, f"203.0.113.{number}") for number in range(5)]
        assert [reply.status for reply in told] == [201] * 3 + [429] * 2
        refused = told[-1]
        assert refused.code == "rate_limited"
        assert refused.body["limit"] == "network"
        assert refused.headers["RateLimit-Policy"] == '"network";q=3;w=300'
        assert refused.headers["RateLimit"].startswith('"network";r=0;t=')
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await reserve(api, path, "203.0.114.1")).status == 201
        # The sale itself is a call of the network too; machines and shops are none.
        seen = {"X-Forwarded-For": "203.0.113.9"}
        assert (await api.call("GET", f"/v1/sales/{sale}", headers=seen)).status == 429
        assert (await api.call("GET", "/livez", headers=seen)).status == 200
        shop = token_of("storefront", "shop")
        orders = "/v1/orders?buyer_id=b"
        assert (await api.call("GET", orders, token=shop, headers=seen)).status == 200
        shown = (await api.call("GET", "/metrics")).raw
        assert b'dropgate_rate_limited_total{limit="network"} 3.0' in shown


async def test_a_token_comes_before_the_limit(settings: Settings) -> None:
    limits = RateLimitSettings(network_per_second=0.01, network_burst=1)
    async with serving(settings.model_copy(update={"rate_limit": limits})) as api:
        sale = await api.open_sale()
        path = HOT.format(sale)
        assert (await reserve(api, path, "203.0.113.1")).status == 201
        assert (await reserve(api, path, "203.0.113.1")).told == (429, "rate_limited")
        wrong = await reserve(api, path, "203.0.113.1", token="a.b.c")
        assert wrong.told == (401, "unauthenticated")
        # Without trusted proxies the header may be forged: these callers are one network.
        assert (await reserve(api, path, "192.0.2.1")).status == 429


@asynccontextmanager
async def frozen_redis(settings: Settings) -> AsyncIterator[None]:
    """No script runs until the block ends."""
    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    try:
        await client.client_pause(60_000, all=False)
        yield
    finally:
        await client.client_unpause()
        await client.aclose()


async def test_the_order_of_shedding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bound on requests reached, promises and views go on, everything else waits."""
    monkeypatch.setattr("gateway.api.sales.public.STALE_SECONDS", WAIT_SECONDS)
    settings = changed(settings, "gateway", max_in_flight=4)
    settings = changed(settings, "redis", socket_timeout_seconds=60.0)
    async with serving(settings) as api:
        sale = await api.open_sale()
        kept = await api.held(sale, "keeper")
        cancelled = await api.held(sale, "leaver")
        assert (await api.call("GET", f"/v1/sales/{sale}")).status == 200

        # The page itself asks Redis, so the counters are read where the workers put them.
        counters = GatewayMetrics(settings.gateway.run_dir, 63)

        async def in_flight(number: int) -> None:
            def reached() -> bool:
                families = {family.name: family for family in counters.collect()}
                return families["dropgate_http_in_flight"].samples[0].value == number

            await wait_until(reached, f"{number} are in flight")

        async with frozen_redis(settings):
            waiting = []
            for number in range(4):
                if number < 2:
                    seen = await api.storefront("GET", "/v1/orders?buyer_id=b")
                    assert seen.status == 200, number
                waiting.append(
                    asyncio.create_task(api.reserve(sale, f"b-{number}", "key", ("shirt", 1)))
                )
                await in_flight(number + 1)
            seen = await api.storefront("GET", "/v1/orders?buyer_id=b")
            assert seen.told == (503, "overloaded")
            refused = await api.reserve(sale, "late", "key")
            assert refused.told == (503, "overloaded")
            assert 1 <= int(refused.headers["Retry-After"]) <= 3
            assert (await api.call("GET", f"/v1/sales/{sale}")).status == 200
            reference = {"payment_reference": "p"}
            confirm = f"/v1/reservations/{kept}/confirm"
            promised = [
                asyncio.create_task(api.storefront("POST", confirm, reference)),
                asyncio.create_task(
                    api.buyer("leaver", "POST", f"/v1/reservations/{cancelled}/cancel")
                ),
            ]
            await in_flight(6)
        assert [(await task).status for task in waiting] == [201] * 4
        assert [(await task).status for task in promised] == [200] * 2
        shown = (await api.call("GET", "/metrics")).raw
        assert b'dropgate_shed_total{work="browsing"} 1.0' in shown
        assert b'dropgate_shed_total{work="reserving"} 1.0' in shown


async def test_who_was_shed_is_left_unread_for_a_moment_and_then_served(
    settings: Settings,
) -> None:
    settings = changed(settings, "gateway", max_in_flight=1)
    settings = changed(settings, "redis", socket_timeout_seconds=60.0)
    async with serving(settings) as api:
        sale = await api.open_sale()
        async with frozen_redis(settings):
            waiting = [
                asyncio.create_task(api.reserve(sale, "first", "key")),
                asyncio.create_task(api.reserve(sale, "second", "key")),
            ]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [(await task).status for task in done] == [503]
        assert sorted([(await task).status for task in waiting]) == [201, 503]
        # Whichever connections served the refused caller, both serve the next ones.
        again = [api.reserve(sale, f"again-{number}", "key") for number in range(2)]
        assert {(await reply).status for reply in again} == {201}


async def test_made_up_sales_cannot_starve_those_that_are_known(settings: Settings) -> None:
    """Nobody needs a token to ask for a sale; the ids cost two connections, whatever they are."""
    settings = changed(settings, "postgres", pool_size=3)
    async with serving(settings) as api:
        sale = await api.open_sale()
        blocker = await asyncpg.connect(settings.postgres.dsn, server_settings=UNHURRIED)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE sales IN ACCESS EXCLUSIVE MODE")
            made_up = [
                asyncio.create_task(api.call("GET", f"/v1/sales/made-up-{number}"))
                for number in range(30)
            ]
            for _ in range(20):  # as many requests as the bound allows wait now
                assert (await api.call("GET", "/livez")).status == 200
            assert (await api.reserve(sale, "b", "key")).status == 201
            assert (await api.call("GET", "/readyz")).body["postgres"] == "up"
            await transaction.rollback()
            assert {(await seen).status for seen in made_up} <= {404, 503}
        finally:
            await blocker.close()


async def test_reads_of_orders_cannot_starve_calls_that_change_a_sale(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections for reads wait for a lock; operators and buyers find theirs free."""
    # Otherwise the statements would time out meanwhile.
    for bound in ("lock_timeout", "statement_timeout"):
        monkeypatch.setitem(postgres._SERVER_SETTINGS, bound, "0")
    settings = changed(settings, "postgres", pool_size=2, read_pool_size=2)
    async with serving(settings) as api:
        sale = await api.open_sale()
        blocker = await asyncpg.connect(settings.postgres.dsn, server_settings=UNHURRIED)
        watcher = await asyncpg.connect(settings.postgres.dsn)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE")
            reads = [
                asyncio.create_task(api.storefront("GET", "/v1/orders?buyer_id=b"))
                for _ in range(20)
            ]

            async def saturated() -> bool:
                waiting = await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return bool(waiting == settings.postgres.read_pool_size)

            await wait_until(saturated, "every connection for reads waits")
            assert (await api.ops("POST", f"/v1/sales/{sale}/pause")).status == 200
            assert (await api.ops("POST", f"/v1/sales/{sale}/resume")).status == 200
            assert (await api.reserve(sale, "b", "key")).status == 201
            assert await saturated()
            await transaction.rollback()
            told = {(await read).status for read in reads}
            assert told <= {200, 503}
        finally:
            await blocker.close()
            await watcher.close()
