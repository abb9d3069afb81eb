"""Fixtures of the integration tests alone."""

from collections.abc import AsyncIterator

import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from tests.support.judged_sale import JudgedSale, live_sale


@pytest_asyncio.fixture
async def judged_sale(
    settings: Settings, redis_client: "redis.asyncio.Redis", sale_id: str
) -> AsyncIterator[JudgedSale]:
    """A sale with every kind of reservation, alive and whole."""
    async with live_sale(settings, redis_client, sale_id) as sale:
        yield sale
