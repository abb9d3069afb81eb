"""What callers are answered while Redis or Postgres is away, and that recovery needs no help."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import (
    AuthSettings,
    GatewaySettings,
    PostgresSettings,
    RedisSettings,
    Settings,
)
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer
from config.stack.server import free_port
from order_writer.schema import migrate
from tests.support.api import Api, serving
from tests.support.servers import SECRET, patient_redis
from tests.support.waiting import WAIT_SECONDS, wait_until


class Rig:
    """A gateway on servers of its own, which a test may kill."""

    def __init__(self, api: Api, redis: RedisServer, postgres: PostgresServer) -> None:
        self.api = api
        self.redis = redis
        self.postgres = postgres

    async def ready(self) -> bool:
        reply = await self.api.call("GET", "/readyz")
        return (reply.status, reply.body["status"]) == (200, "ready")

    async def degraded(self) -> bool:
        """Without Postgres, and a load balancer goes on sending buyers."""
        reply = await self.api.call("GET", "/readyz")
        told = (reply.body["status"], reply.body["degraded"], reply.body["postgres"])
        return (reply.status, *told) == (200, "degraded", ["postgres"], "down")

    async def not_ready(self, part: str) -> bool:
        reply = await self.api.call("GET", "/readyz")
        return (reply.status, reply.body[part]) == (503, "down")


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    # Not pytest's own folder: that is closed to the unprivileged user PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="dropgate-outage-"))
    redis, postgres = RedisServer(folder / "redis"), PostgresServer(folder / "postgres")
    try:
        await redis.start()
        await postgres.start()
        await migrate(postgres.dsn)
        settings = Settings(
            redis=patient_redis(redis.url),
            postgres=PostgresSettings(dsn=postgres.dsn, acquire_timeout_seconds=WAIT_SECONDS),
            gateway=GatewaySettings(port=free_port(), run_dir=folder / "run"),
            auth=AuthSettings.model_validate({"secret": SECRET}),
        )
        async with serving(settings) as api:
            yield Rig(api, redis, postgres)
    finally:
        await redis.stop()
        await postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_without_redis_nothing_is_promised(rig: Rig) -> None:
    api = rig.api
    sale = await api.open_sale()
    held = await api.held(sale, "buyer-1")
    rig.redis.kill()

    async def redis_down() -> bool:
        return await rig.not_ready("redis")

    await wait_until(redis_down)
    for reply in (
        await api.reserve(sale, "buyer-1", "key"),
        await api.buyer("buyer-1", "GET", f"/v1/reservations/{held}"),
        await api.buyer("buyer-1", "POST", f"/v1/reservations/{held}/cancel"),
        await api.ops("POST", f"/v1/sales/{sale}/pause"),
        await api.ops("POST", f"/v1/sales/{sale}/items/shirt/pause"),
        await api.ops("GET", f"/v1/sales/{sale}/snapshot"),
    ):
        assert reply.told == (503, "recovering")
        assert int(reply.headers["Retry-After"]) >= 1
    shown = await api.call("GET", f"/v1/sales/{sale}")
    assert shown.body["state"] == "paused"  # the ledger has the new state, and Redis will follow
    assert {item["availability"] for item in shown.body["items"]} == {"unknown"}

    async def told() -> bool:
        return b'dropgate_gauges_up{part="redis"} 0.0' in (await api.call("GET", "/metrics")).raw

    await wait_until(told, "the metrics say so")
    await rig.redis.start()
    await wait_until(rig.ready)
    # A new server run: recovery must prove it before anybody may write.
    assert (await api.reserve(sale, "buyer-1", "key")).told == (503, "recovering")


async def test_without_postgres_known_sales_go_on(rig: Rig) -> None:
    api = rig.api
    sale = await api.open_sale()
    held = await api.held(sale, "buyer-1")
    await rig.postgres.stop()
    await wait_until(rig.degraded)
    assert (await api.reserve(sale, "buyer-1", "key")).status == 201
    done = await api.storefront(
        "POST", f"/v1/reservations/{held}/confirm", {"payment_reference": "p"}
    )
    assert (done.status, done.body["state"]) == (200, "confirmed")
    for reply in (
        await api.reserve("another-sale", "buyer-1", "key"),
        await api.ops("POST", f"/v1/sales/{sale}/pause"),
        await api.buyer("buyer-1", "GET", "/v1/orders"),
        await api.ops("GET", "/v1/dead-letters"),
    ):
        assert reply.told == (503, "recovering")
        assert "Retry-After" in reply.headers
    await rig.postgres.start()
    await wait_until(rig.ready)
    assert (await api.ops("POST", f"/v1/sales/{sale}/pause")).status == 200

    async def listening() -> bool:
        reply = await api.call("GET", "/readyz")
        return bool(reply.body["sales_listener"] == "up")

    await wait_until(listening)


async def test_a_postgres_that_hangs_does_not_hang_readiness(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.api.operations.health.POSTGRES_TIMEOUT_SECONDS", 1.0)
    await rig.api.open_sale()
    server = psutil.Process(rig.postgres.pid)
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        await wait_until(rig.degraded)
        # And without Redis too, nothing can be sold.
        rig.redis.kill()

        async def redis_down() -> bool:
            return await rig.not_ready("redis")

        await wait_until(redis_down)
    finally:
        for process in frozen:
            process.resume()
    await rig.redis.start()
    await wait_until(rig.ready)


async def test_a_gateway_that_knows_no_sale_is_not_ready_without_postgres(rig: Rig) -> None:
    await rig.postgres.stop()

    async def postgres_down() -> bool:
        return await rig.not_ready("postgres")

    await wait_until(postgres_down)


async def test_a_redis_that_keeps_less_than_promised_is_none(rig: Rig) -> None:
    await rig.api.open_sale()
    client = redis.asyncio.Redis.from_url(rig.redis.url, protocol=2)
    try:
        await client.config_set("appendfsync", "everysec")
        await client.client_kill_filter(_type="normal", skipme=True)

        async def redis_down() -> bool:
            return await rig.not_ready("redis")

        await wait_until(redis_down)
        await client.config_set("appendfsync", "always")
        await wait_until(rig.ready)
    finally:
        await client.aclose()


async def test_a_gateway_starts_before_its_servers(tmp_path: Path) -> None:
    settings = Settings(
        redis=RedisSettings(url=f"redis://127.0.0.1:{free_port()}/0"),
        postgres=PostgresSettings(dsn=f"postgresql://127.0.0.1:{free_port()}/none"),
        gateway=GatewaySettings(port=free_port(), run_dir=tmp_path),
        auth=AuthSettings.model_validate({"secret": SECRET}),
    )
    async with serving(settings, path="/livez") as api:
        reply = await api.call("GET", "/readyz")
        assert (reply.status, reply.body["redis"], reply.body["postgres"]) == (503, "down", "down")
        assert (await api.reserve("sale", "b", "k")).told == (503, "recovering")
        assert (await api.call("GET", "/metrics")).status == 200
