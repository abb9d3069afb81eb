"""Which run of which server has the ledger.

Data is put back only while no server runs on it, and a transaction never moves to another server.
So a ledger has lost nothing of what it had as long as its run is the same; under another run it
may have come back older. Which of several ledgers counts is another question
(`ledger_identity.py`): a restart begins another run of the ledger that counted.
"""

from pathlib import Path

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from config.queries import Queries

QUERIES = Queries(Path(__file__).with_suffix(".sql"))


async def ledger_run(connection: asyncpg.Connection | PoolConnectionProxy) -> str:
    """The run, as a text that is the same for all connections to it."""
    return str(await connection.fetchval(QUERIES["ledger_run"]))
