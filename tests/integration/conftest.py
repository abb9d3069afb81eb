"""Fixtures of the integration tests alone."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import EventLogSettings, Settings
from gateway.inventory.store import ReservationStore
from tests.support.sales.judged_sale import JudgedSale, live_sale
from tests.support.sales.partitions import open_store
from tests.support.waiting import WAIT_SECONDS


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow server is not taken for a lost server."""
    for bound in (
        "gateway.admission.waiting_room.room.FIRST_LOOK_SECONDS",
        "gateway.admission.waiting_room.room.STALE_SECONDS",
        "gateway.api.operations.health.POSTGRES_TIMEOUT_SECONDS",
        "gateway.api.operations.asking.WAIT_SECONDS",
    ):
        monkeypatch.setattr(bound, WAIT_SECONDS)


@pytest_asyncio.fixture
async def judged_sale(
    settings: Settings, redis_client: redis.asyncio.Redis, sale_id: str
) -> AsyncIterator[JudgedSale]:
    """An intact sale with every kind of reservation."""
    async with live_sale(settings, redis_client, sale_id) as sale:
        yield sale


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the ledger."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ReservationStore]:
    """The store of the reservations in Redis."""
    async with open_store(settings.redis) as (_, opened):
        yield opened


@pytest.fixture
def on_kafka(settings: Settings, kafka_event_log: EventLogSettings) -> Settings:
    """The settings, with Kafka as the event log."""
    return settings.model_copy(update={"event_log": kafka_event_log})
