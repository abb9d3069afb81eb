"""A distributed lock in Redis around a read, a decrement and an insert in Postgres."""

import asyncio
import random
import secrets
import time

from redis.asyncio import Redis

from config.waiting import Backoff
from loadtest.bench.designs.design import BUSY, Addresses, Reply
from loadtest.bench.designs.postgres.books import PostgresBooks
from loadtest.bench.designs.postgres.for_update import take
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.designs.redis.books import connect
from loadtest.bench.sale import SKU

LOCK = "bench:lock"
LOCK_MILLISECONDS = 2_000
PATIENCE_SECONDS = 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.25
RELEASE = b"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class LockDatabase(PostgresBooks):
    """One holder at a time by a lease: safe only while nobody outlives the lease."""

    _redis: Redis
    _release: str

    async def start(self, addresses: Addresses) -> None:
        """Connect to both."""
        await super().start(addresses)
        self._redis = connect(addresses.redis)
        self._release = await self._redis.script_load(RELEASE)

    async def reset(self, stock: int) -> None:
        """Forget everything, a lock left behind too."""
        await super().reset(stock)
        await self._redis.unlink(LOCK)

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Get the lock, change the database, release the lock."""
        owner = secrets.token_hex(8)
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while not await self._redis.set(LOCK, owner, nx=True, px=LOCK_MILLISECONDS):
            if time.monotonic() > patience_ends:
                return BUSY
            await asyncio.sleep(random.uniform(0, backoff.next_seconds()))
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(QUERIES["read_stock"], SKU)
                if row is None:
                    return BUSY
                return await take(connection, buyer_id, key, quantity, row["available"])
        finally:
            await self._redis.evalsha(self._release, 1, LOCK, owner)
