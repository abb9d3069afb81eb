"""Connection pools for the ledger, with a bound on every wait.

Reads and writes go to the primary. A connection whose query was interrupted is terminated, never
reused: it would read the interrupted query's answer as that of the next.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from config.settings import PostgresSettings
from gateway.process.ledger_identity import IdentifiedConnection, read_identity

Guard = Callable[[PoolConnectionProxy], Coroutine[Any, Any, None]]

# Errors of a lost or unusable connection. asyncpg raises InternalClientError, which is not an
# InterfaceError, for a query on a connection whose server has announced its end but not closed it.
CONNECTION_FAULTS = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# Every error of a server that is down, restarting or overloaded.
LEDGER_FAULTS = (asyncpg.PostgresError, *CONNECTION_FAULTS)

_SERVER_SETTINGS = {
    "statement_timeout": "15s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
    "synchronous_commit": "on",
    "application_name": "dropgate",
}


async def create_pool(
    settings: PostgresSettings,
    *,
    size: int | None = None,
    prepare: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]] | None = None,
    server_settings: Mapping[str, str] | None = None,
    guard: Guard | None = None,
) -> asyncpg.Pool:
    """A pool of at most `size` (default: the setting's) connections; it connects when first used.

    `prepare` runs once on each connection before its first use; `server_settings` are added to the
    bounds that every session has. `guard` is called before each use of a connection, which then
    knows its ledger's identity; what `guard` raises, the caller gets.
    """

    async def prepared(connection: asyncpg.Connection) -> None:
        if guard is not None and isinstance(connection, IdentifiedConnection):
            connection.identity = await read_identity(connection)
        if prepare is not None:
            await prepare(connection)

    return await asyncpg.create_pool(
        settings.dsn,
        min_size=0,
        max_size=size or settings.pool_size,
        command_timeout=settings.command_timeout_seconds,
        timeout=settings.acquire_timeout_seconds,
        server_settings={**_SERVER_SETTINGS, **(server_settings or {})},
        init=prepared,
        setup=guard,
        connection_class=IdentifiedConnection,
    )
