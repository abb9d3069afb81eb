"""Postgres alone, pessimistic: SELECT … FOR UPDATE, look, UPDATE, INSERT, COMMIT."""

from loadtest.bench.designs.design import (
    HOLD_SECONDS,
    LIMIT_EXCEEDED,
    LIMIT_PER_BUYER,
    SOLD_OUT,
    Reply,
    keyed_id,
)
from loadtest.bench.designs.postgres.books import (
    Connection,
    PostgresBooks,
    known_reservation,
    owned_units,
)
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.sale import SKU


class PostgresForUpdate(PostgresBooks):
    """The row is locked over four round trips; what an ORM's `with_for_update()` does."""

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """One transaction."""
        async with self.pool.acquire() as connection, connection.transaction():
            available = await connection.fetchval(QUERIES["lock_stock"], SKU)
            return await take(connection, buyer_id, key, quantity, available)


async def take(
    connection: Connection, buyer_id: str, key: str, quantity: int, available: int
) -> Reply:
    """Decide on what was read under a lock, and write."""
    known = await known_reservation(connection, buyer_id, key)
    if known is not None:
        return Reply("replayed", known)
    if await owned_units(connection, buyer_id) + quantity > LIMIT_PER_BUYER:
        return LIMIT_EXCEEDED
    if available < quantity:
        return SOLD_OUT
    token = keyed_id(buyer_id, key)
    await connection.execute(QUERIES["write_stock"], SKU, available - quantity)
    await connection.execute(
        QUERIES["insert_reservation"], token, buyer_id, key, SKU, quantity, HOLD_SECONDS
    )
    return Reply("accepted", token)
