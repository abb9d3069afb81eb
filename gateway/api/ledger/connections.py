"""The gateway's way to Postgres: bounded, and with one error for "not to be had now".

A connection whose statement was cut short (time-out, cancelled caller, lost server) is terminated,
never handed on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.process.postgres import CONNECTION_FAULTS, LEDGER_FAULTS

# SQLSTATE classes of a server that may answer the next try: connection, resources, intervention,
# system; and locks not to be had in time.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})


class LedgerUnavailable(Exception):
    """Postgres did not answer; nothing is known to have been written."""


class Ledger:
    """A pool of connections; `acquire_timeout_seconds` bounds the wait for one."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout_seconds: float) -> None:
        """`pool` may be not connected yet."""
        self._pool = pool
        self._acquire_timeout_seconds = acquire_timeout_seconds

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection of its own for the block. Raises LedgerUnavailable, also from the block."""
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
            # What the block came for is had, or its error is on its way: that the connection
            # cannot be reset for the next caller changes neither, and the pool drops it.
            with suppress(*LEDGER_FAULTS):
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy]:
        """As `connection`, inside one transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first value of the first row."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *arguments)
