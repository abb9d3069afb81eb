"""Postgres alone, optimistic: read a version, write only where the version is unchanged."""

import asyncio
import random

import asyncpg

from config.waiting import Backoff
from loadtest.bench.designs.design import (
    BUSY,
    HOLD_SECONDS,
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    MOST_TRIES,
    SOLD_OUT,
    Reply,
    keyed_id,
)
from loadtest.bench.designs.postgres.books import PostgresBooks
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.sale import SKU

# Pauses grow with every race lost, so that a crowd thins itself out.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.001, 0.5


class PostgresVersion(PostgresBooks):
    """Two round trips, repeated by every request that lost the race."""

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Try until no other request wrote between the read and the write."""
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
        for _ in range(MOST_TRIES):
            reply = await self._try(buyer_id, key, quantity)
            if reply is not None:
                return reply
            await asyncio.sleep(random.uniform(0, backoff.next_seconds()))
        return BUSY

    async def _try(self, buyer_id: str, key: str, quantity: int) -> Reply | None:
        row = await self.pool.fetchrow(QUERIES["read_all"], SKU, buyer_id, key)
        if row is None:
            return BUSY
        if row["known"]:
            return Reply("replayed", row["known"])
        if row["owned"] + quantity > LIMIT_PER_BUYER:
            return LIMIT_EXCEEDED
        if row["available"] < quantity:
            return SOLD_OUT
        token = keyed_id(buyer_id, key)
        try:
            made = await self.pool.fetchval(
                QUERIES["take_at_version"],
                *(token, buyer_id, key, SKU, quantity, HOLD_SECONDS, row["version"]),
            )
        except asyncpg.UniqueViolationError:
            return None
        return Reply("accepted", token) if made else None
