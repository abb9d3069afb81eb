"""Postgres alone, a row per unit: each request takes a free row that nobody else has locked."""

from loadtest.bench.designs.postgres.conditional import PostgresConditional
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.sale import SKU


class PostgresSkipLocked(PostgresConditional):
    """No hot row; instead as many rows as units, and an index that grows dead entries."""

    audit_section = "audit_units"
    statement = "take_units"

    async def load(self, stock: int) -> None:
        """Write a row for each unit."""
        await self.pool.execute(QUERIES["load_units"], SKU, stock)
        await self.pool.execute(QUERIES["analyze_units"])
