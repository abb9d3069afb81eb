"""A view of the lease that the test controls."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from config.settings import Settings
from gateway.inventory.redis.ledger_fence import LedgerFence
from gateway.process.ledger_identity import LedgerIdentity, read_identity


@pytest.fixture
def fence(redis_client: Redis) -> LedgerFence:
    """What a process at another ledger would claim with."""
    return LedgerFence(redis_client)


@pytest_asyncio.fixture
async def own(settings: Settings) -> AsyncIterator[LedgerIdentity]:
    """The ledger to which the settings lead."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield await read_identity(connection)
    await connection.close()


@pytest.fixture
def promoted(own: LedgerIdentity) -> LedgerIdentity:
    """A copy of that ledger which was promoted."""
    return LedgerIdentity(own.system_identifier, own.timeline + 1)
