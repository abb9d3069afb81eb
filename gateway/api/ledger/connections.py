"""The gateway's connections to Postgres: bounded, with one error for "the ledger is unavailable".

A connection whose statement was interrupted (time-out, cancelled caller, lost server) is
terminated, never reused.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.process.postgres import CONNECTION_FAULTS, LEDGER_FAULTS

# SQLSTATE classes after which another try may succeed: connection, transaction rollback, resources,
# object state (locks), operator intervention, system error.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})


class LedgerUnavailable(Exception):
    """Postgres did not answer; a write may or may not have been committed."""


class Ledger:
    """A pool of connections; `acquire_timeout_seconds` bounds the wait for a connection."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout_seconds: float) -> None:
        """`pool` may still be unconnected."""
        self._pool = pool
        self._acquire_timeout_seconds = acquire_timeout_seconds

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection for the block. Raises LedgerUnavailable, also for faults in the block."""
        try:
            connection = await self._pool.acquire(timeout=self._acquire_timeout_seconds)
        except LEDGER_FAULTS as error:
            raise LedgerUnavailable(str(error) or type(error).__name__) from error
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        except CONNECTION_FAULTS as error:
            connection.terminate()
            raise LedgerUnavailable(str(error) or type(error).__name__) from error
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "")[:2] not in _TRANSIENT_CLASSES:
                raise
            raise LedgerUnavailable(str(error)) from error
        finally:
            # The block has its result or its error already. A connection that cannot be reset for
            # the next caller changes neither, and the pool drops it.
            with suppress(*LEDGER_FAULTS):
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection inside one transaction. Raises LedgerUnavailable like `connection`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows of the query. Raises LedgerUnavailable."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row, or None. Raises LedgerUnavailable."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first value of the first row. Raises LedgerUnavailable."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *arguments)
