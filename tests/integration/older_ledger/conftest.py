"""Servers of each test's own, because they are put back and killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.settings import EventLogSettings, PostgresSettings, Settings
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer
from order_writer.schema import migrate
from tests.support.sales.shop import Shop, open_shop
from tests.support.servers import patient_redis, unique


@pytest_asyncio.fixture
async def own_postgres(servers_folder: Path) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(servers_folder / unique("postgres"))
    await server.start()
    await migrate(server.dsn)
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def own_redis(servers_folder: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(servers_folder / unique("redis"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def shop_settings(
    own_postgres: PostgresServer, own_redis: RedisServer, settings: Settings
) -> Settings:
    postgres = PostgresSettings(**settings.postgres.model_dump() | {"dsn": own_postgres.dsn})
    return settings.model_copy(update={"postgres": postgres, "redis": patient_redis(own_redis.url)})


@pytest_asyncio.fixture
async def draft_shop(
    shop_settings: Settings, own_postgres: PostgresServer, own_redis: RedisServer
) -> AsyncIterator[Shop]:
    """A shop without Kafka, whose sale is a draft."""
    async with open_shop(shop_settings, own_postgres, own_redis) as opened:
        yield opened


@pytest_asyncio.fixture
async def shop(draft_shop: Shop) -> Shop:
    """A shop without Kafka, whose sale is open."""
    await draft_shop.open()
    return draft_shop


@pytest_asyncio.fixture
async def kafka_shop(
    shop_settings: Settings,
    kafka_event_log: EventLogSettings,
    own_postgres: PostgresServer,
    own_redis: RedisServer,
) -> AsyncIterator[Shop]:
    """A shop with Kafka, whose sale is open."""
    settings = shop_settings.model_copy(update={"event_log": kafka_event_log})
    async with open_shop(settings, own_postgres, own_redis) as opened:
        await opened.open()
        yield opened
