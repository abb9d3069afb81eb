"""WATCH, read, MULTI … EXEC, repeated after a lost race: correct, and slow when hot."""

import asyncio
import random

from redis.asyncio import Redis
from redis.exceptions import WatchError

from config.waiting import Backoff
from loadtest.bench.designs.design import (
    BUSY,
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    MOST_TRIES,
    SOLD_OUT,
    Addresses,
    Audit,
    Reply,
)
from loadtest.bench.designs.redis import books

# Pauses grow with every race lost, so that a crowd thins itself out.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.001, 0.5


class RedisWatch:
    """Optimistic locking on the one stock key that everybody wants."""

    _redis: Redis

    async def start(self, addresses: Addresses) -> None:
        """Connect."""
        self._redis = books.connect(addresses.redis)

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""
        await books.reset(self._redis, stock)

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Try until no other request wrote between the read and the write."""
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
        for _ in range(MOST_TRIES):
            try:
                return await self._try(buyer_id, key, quantity)
            except WatchError:
                await asyncio.sleep(random.uniform(0, backoff.next_seconds()))
        return BUSY

    async def _try(self, buyer_id: str, key: str, quantity: int) -> Reply:
        field = books.key_field(buyer_id, key)
        async with self._redis.pipeline(transaction=True) as pipe:
            # Every accepted reservation changes the stock, so watching that one key is enough.
            await pipe.watch(books.STOCK)
            stock = int(await pipe.get(books.STOCK) or 0)
            known = books.text(await pipe.hget(books.KEYS, field))
            if known:
                return Reply("replayed", known)
            owned = int(await pipe.hget(books.OWNED, buyer_id) or 0)
            if owned + quantity > LIMIT_PER_BUYER:
                return LIMIT_EXCEEDED
            if stock < quantity:
                return SOLD_OUT
            record = books.new_record(buyer_id, key, quantity)
            pipe.multi()  # type: ignore[no-untyped-call] # of redis-py
            pipe.decrby(books.STOCK, quantity)
            pipe.hset(books.KEYS, field, record.reservation_id)
            pipe.hincrby(books.OWNED, buyer_id, quantity)
            books.add_record(pipe, record)
            await pipe.execute()
        return Reply("accepted", record.reservation_id)

    async def audit(self) -> Audit:
        """Count the books."""
        return await books.audit(self._redis)
