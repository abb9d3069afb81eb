"""A ledger that comes back older than Redis: its rows are kept, and put back later."""

import asyncpg

SCHEMA = "backup"
# Whole tables that are put back; of sales and their items what may have changed.
TABLES = (
    "watermarks",
    "closed_epochs",
    "stock_accounts",
    "ledger_events",
    "reservations",
    "order_lines",
    "dead_letters",
    "ledger_imports",
    "ledger_import_accounts",
    "imported_reservations",
)
CHANGED = f"""
UPDATE sales AS s SET state = b.state, version = b.version, opens_at = b.opens_at
FROM {SCHEMA}.sales AS b WHERE b.sale_id = s.sale_id;
UPDATE sale_items AS i SET paused = b.paused
FROM {SCHEMA}.sale_items AS b WHERE (b.sale_id, b.sku) = (i.sale_id, i.sku)
"""  # noqa: S608 - names of this module


async def back_up(ledger: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Keep the ledger as it is now."""
    await ledger.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    async with ledger.transaction(isolation="repeatable_read"):
        for table in (*TABLES, "sales", "sale_items"):
            await ledger.execute(f"CREATE TABLE {SCHEMA}.{table} AS TABLE {table}")


async def put_back(ledger: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The ledger as it was kept. Nobody may write to it meanwhile."""
    async with ledger.transaction():
        # No trigger and no foreign key is in the way, as where a backup is restored.
        await ledger.execute("SET LOCAL session_replication_role = replica")
        for table in TABLES:
            await ledger.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this module
            await ledger.execute(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE "  # noqa: S608 - the same
                f"SELECT * FROM {SCHEMA}.{table}"
            )
        await ledger.execute(CHANGED)
