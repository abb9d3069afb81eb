"""Admissions as the waiting room would issue them, for tests of their effect."""

import asyncpg

from config.settings import Settings
from gateway.admission.passes import Passes, passes_of

FAR_MS = 9_000_000_000_000


async def passes_for(settings: Settings, sale_id: str) -> Passes:
    """The passes of a sale that is in the ledger."""
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        key = await ledger.fetchval("SELECT hash_key FROM sales WHERE sale_id = $1", sale_id)
    finally:
        await ledger.close()
    return passes_of(key, sale_id)
