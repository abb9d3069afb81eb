"""One Lua script per request through redis-py: correct, and the usual good answer."""

import time
from pathlib import Path

from redis.asyncio import Redis

from loadtest.bench.designs.design import (
    HOLD_SECONDS,
    LIMIT_PER_BUYER,
    Addresses,
    Audit,
    Reply,
    keyed_id,
)
from loadtest.bench.designs.redis import books
from loadtest.bench.sale import SKU

SOURCE = Path(__file__).with_name("evalsha.lua").read_bytes()
BOOKS = (
    books.STOCK,
    books.OWNED,
    books.RECORDS,
    books.DEADLINES,
    books.OUTBOX,
)


class RedisEvalsha:
    """The script is the whole step, so a lost caller or a killed worker strands nothing."""

    _redis: Redis
    _sha: str

    async def start(self, addresses: Addresses) -> None:
        """Connect and load the script."""
        self._redis = books.connect(addresses.redis)
        self._sha = await self._redis.script_load(SOURCE)

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""
        await books.reset(self._redis, stock)

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """One EVALSHA, awaited."""
        token = keyed_id(buyer_id, key)
        deadline = int(time.time() * 1000) + HOLD_SECONDS * 1000
        outcome = await self._redis.evalsha(
            self._sha,
            len(BOOKS),
            *BOOKS,
            *(token, buyer_id, key, SKU, str(quantity), str(LIMIT_PER_BUYER), str(deadline)),
        )
        return Reply(books.text(outcome), token)

    async def audit(self) -> Audit:
        """Count the books."""
        return await books.audit(self._redis)
