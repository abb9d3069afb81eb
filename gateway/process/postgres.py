"""Connections to the ledger, with a bound on every wait.

Reads and writes go to the primary. A connection whose query was cut short is terminated, never
handed on: what it would read next is another caller's answer.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import asyncpg

from config.settings import PostgresSettings

# A connection that is lost or of no more use. asyncpg raises InternalClientError, which is no
# InterfaceError, for a query on one whose server has said goodbye but not hung up yet.
CONNECTION_FAULTS = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# Whatever a server that is away, restarting or overloaded raises.
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
) -> asyncpg.Pool:
    """A pool of at most `size` (default: the setting's) connections; connects when first used.

    `prepare` is done once to each connection before anyone has it; `server_settings` are added to
    the bounds that every session has.
    """
    return await asyncpg.create_pool(
        settings.dsn,
        min_size=0,
        max_size=size or settings.pool_size,
        command_timeout=settings.command_timeout_seconds,
        timeout=settings.acquire_timeout_seconds,
        server_settings={**_SERVER_SETTINGS, **(server_settings or {})},
        init=prepare,
    )
