"""Postgres alone, one statement: conditional UPDATE of the stock row, INSERT of the reservation."""

import asyncpg

from loadtest.bench.designs.design import (
    BUSY,
    HOLD_SECONDS,
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    SOLD_OUT,
    Reply,
    keyed_id,
)
from loadtest.bench.designs.postgres.books import PostgresBooks
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.sale import SKU

MOST_KEY_RACES = 3


class PostgresConditional(PostgresBooks):
    """One round trip and one commit; every buyer of the SKU waits for the same row."""

    statement = "take_conditionally"

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Run the statement; where another request with the key won, run it again to find it."""
        token = keyed_id(buyer_id, key)
        for _ in range(MOST_KEY_RACES):
            try:
                row = await self.pool.fetchrow(
                    QUERIES[self.statement],
                    *(token, buyer_id, key, SKU, quantity, LIMIT_PER_BUYER, HOLD_SECONDS),
                )
            except asyncpg.UniqueViolationError:
                continue
            if row is None:
                return BUSY
            if row["made"]:
                return Reply("accepted", token)
            if row["known"]:
                return Reply("replayed", row["known"])
            return LIMIT_EXCEEDED if row["owned"] + quantity > LIMIT_PER_BUYER else SOLD_OUT
        return BUSY
