"""DECR first, INCR back when it went below zero: never oversells, compensates by hand."""

from redis.asyncio import Redis

from loadtest.bench.designs.design import (
    BUSY,
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    SOLD_OUT,
    Addresses,
    Audit,
    Reply,
)
from loadtest.bench.designs.redis import books

CLAIM = "claimed"


class RedisDecrIncr:
    """The key is claimed first, so one key has one effect; a killed worker's units are lost."""

    _redis: Redis

    async def start(self, addresses: Addresses) -> None:
        """Connect."""
        self._redis = books.connect(addresses.redis)

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""
        await books.reset(self._redis, stock)

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Claim the key, take the unit, give it back where it was not there, record."""
        field = books.key_field(buyer_id, key)
        if not await self._redis.hsetnx(books.KEYS, field, CLAIM):
            known = books.text(await self._redis.hget(books.KEYS, field))
            return BUSY if known in {"", CLAIM} else Reply("replayed", known)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(books.OWNED, buyer_id, quantity)
            pipe.decrby(books.STOCK, quantity)
            owned, left = await pipe.execute()
        if owned > LIMIT_PER_BUYER or left < 0:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.incrby(books.STOCK, quantity)
                pipe.hincrby(books.OWNED, buyer_id, -quantity)
                pipe.hdel(books.KEYS, field)
                await pipe.execute()
            return LIMIT_EXCEEDED if owned > LIMIT_PER_BUYER else SOLD_OUT
        record = books.new_record(buyer_id, key, quantity)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(books.KEYS, field, record.reservation_id)
            books.add_record(pipe, record)
            await pipe.execute()
        return Reply("accepted", record.reservation_id)

    async def audit(self) -> Audit:
        """Count the books."""
        return await books.audit(self._redis)
