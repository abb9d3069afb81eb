"""GET, look, then DECR: the check and the decrement are two commands."""

from redis.asyncio import Redis

from loadtest.bench.designs.design import (
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    SOLD_OUT,
    Addresses,
    Audit,
    Reply,
)
from loadtest.bench.designs.redis import books


class RedisGetDecr:
    """Three round trips, each pipelined; another request may come between any two."""

    _redis: Redis

    async def start(self, addresses: Addresses) -> None:
        """Connect."""
        self._redis = books.connect(addresses.redis)

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""
        await books.reset(self._redis, stock)

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Read all, decide, decrement, record."""
        field = books.key_field(buyer_id, key)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(books.KEYS, field)
            pipe.hget(books.OWNED, buyer_id)
            pipe.get(books.STOCK)
            known, owned, stock = await pipe.execute()
        if known:
            return Reply("replayed", known.decode())
        if int(owned or 0) + quantity > LIMIT_PER_BUYER:
            return LIMIT_EXCEEDED
        if int(stock) < quantity:
            return SOLD_OUT
        await self._redis.decrby(books.STOCK, quantity)
        record = books.new_record(buyer_id, key, quantity)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(books.KEYS, field, record.reservation_id)
            pipe.hincrby(books.OWNED, buyer_id, quantity)
            books.add_record(pipe, record)
            await pipe.execute()
        return Reply("accepted", record.reservation_id)

    async def audit(self) -> Audit:
        """Count the books."""
        return await books.audit(self._redis)
