"""Fixtures of the integration tests alone."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from tests.support.sales.judged_sale import JudgedSale, live_sale
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
