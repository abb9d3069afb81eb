"""Pools that ask before each use of a connection."""

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from redis.asyncio import Redis

from config.settings import Settings
from gateway.inventory.redis.ledger_fence import LedgerFence, LedgerFenced
from gateway.process.ledger_identity import LedgerIdentity, identity_of
from gateway.process.postgres import create_pool
from tests.support.waiting import wait_until


class _Slow(LedgerFence):
    """A fence that, once, answers only after the connection it was asked about is gone."""

    def __init__(self, redis: Redis, dsn: str) -> None:
        super().__init__(redis)
        self.ends_next = False
        self._dsn = dsn
        self._asked: PoolConnectionProxy | None = None

    async def guard(self, connection: PoolConnectionProxy) -> None:
        self._asked = connection
        await super().guard(connection)

    async def require(self, identity: LedgerIdentity) -> None:
        await super().require(identity)
        if self.ends_next and self._asked is not None:
            self.ends_next = False
            killer = await asyncpg.connect(self._dsn)
            pid = self._asked.get_server_pid()
            await killer.execute("SELECT pg_terminate_backend($1)", pid)
            await wait_until(self._asked.is_closed, "the connection is lost")
            await killer.close()


async def test_a_connection_knows_its_ledger(
    settings: Settings, fence: LedgerFence, own: LedgerIdentity
) -> None:
    pool = await create_pool(settings.postgres, guard=fence.guard)
    async with pool.acquire() as connection:
        assert identity_of(connection) == own
    assert fence.counts == own
    pool.terminate()


async def test_a_fenced_connection_is_ended_and_the_next_is_asked_about_anew(
    settings: Settings,
    redis_client: Redis,
    fence: LedgerFence,
    own: LedgerIdentity,
    promoted: LedgerIdentity,
) -> None:
    always = LedgerFence(redis_client, answer_seconds=0.0)
    pool = await create_pool(settings.postgres, size=1, guard=always.guard)
    async with pool.acquire() as connection:
        before = connection.get_server_pid()
    await fence.claim(promoted)
    for _ in range(2):
        with pytest.raises(LedgerFenced):
            await pool.fetchval("SELECT 1")
    await redis_client.flushall()
    await LedgerFence(redis_client).claim(own)
    async with pool.acquire() as connection:
        assert connection.get_server_pid() != before
    pool.terminate()


async def test_a_connection_that_is_lost_while_redis_is_asked_is_an_outage(
    settings: Settings, redis_client: Redis
) -> None:
    slow = _Slow(redis_client, settings.postgres.dsn)
    pool = await create_pool(settings.postgres, size=1, guard=slow.guard)
    slow.ends_next = True
    with pytest.raises(ConnectionError, match="lost while Redis was asked"):
        await pool.fetchval("SELECT 1")
    assert await pool.fetchval("SELECT 1") == 1
    pool.terminate()
