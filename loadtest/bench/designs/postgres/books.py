"""Books of the reference designs that keep their stock in Postgres, and how they are counted."""

from typing import TypeAlias

import asyncpg
from asyncpg import Record

from loadtest.bench.designs.design import POSTGRES_POOL_SIZE, Addresses, Audit
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.sale import SKU

COMMAND_TIMEOUT_SECONDS = 10.0

# In quotes: asyncpg's classes take a type parameter in its stubs only.
Pool: TypeAlias = "asyncpg.Pool[Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Record]"


class PostgresBooks:
    """A pool on the shared database, with the tables there."""

    pool: Pool
    audit_section = "audit_stock"

    async def start(self, addresses: Addresses) -> None:
        """Connect and make the tables."""
        self.pool = await asyncpg.create_pool(
            addresses.postgres,
            min_size=POSTGRES_POOL_SIZE,
            max_size=POSTGRES_POOL_SIZE,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
        )
        # Several designs share the database and may start at once.
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES["one_at_a_time"])
            await connection.execute(QUERIES["create_tables"])

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""
        await self.pool.execute(QUERIES["clear"])
        await self.load(stock)

    async def load(self, stock: int) -> None:
        """Write the stock row."""
        await self.pool.execute(QUERIES["load_stock"], SKU, stock)

    async def audit(self) -> Audit:
        """Count the books."""
        row = await self.pool.fetchrow(QUERIES[self.audit_section], SKU)
        if row is None:
            raise LookupError(self.audit_section)
        return Audit(
            remaining=row["remaining"],
            promised=row["promised"],
            reservations=row["reservations"],
            distinct_keys=row["distinct_keys"],
        )


async def owned_units(connection: Connection, buyer_id: str) -> int:
    """Units the buyer has."""
    return int(await connection.fetchval(QUERIES["units_of_buyer"], buyer_id, SKU))


async def known_reservation(connection: Connection, buyer_id: str, key: str) -> str | None:
    """The reservation of an earlier request with the same key."""
    found: str | None = await connection.fetchval(QUERIES["known"], buyer_id, key)
    return found
