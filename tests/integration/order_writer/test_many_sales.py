"""A ledger of many sales: what a statement locks does not grow with the number of sales.

Postgres has `max_locks_per_transaction` times `max_connections` locks for everybody; a statement
that locks the tables of all sales exhausts them at some two thousand.
"""

import asyncpg
import pytest

from config.settings import Settings
from gateway.api.ledger.queries import QUERIES as READING
from order_writer.folding.items import decode_items
from tests.support.sales.history import History, open_rig

SALES = 120
BLOCKS = 4
# The three large tables with their indexes, once for the table and once for each block that a
# statement looks into, beside the small tables.
LOCKS_MAX = 100
LOCKS_OF_A_BLOCK = 12
LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
NOTE_LOCKS = f"""
CREATE TABLE seen (locks bigint);
CREATE FUNCTION note_locks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen {LOCKS};
    RETURN NULL;
END $$;
CREATE TRIGGER note_locks AFTER UPDATE ON watermarks
    FOR EACH STATEMENT EXECUTE FUNCTION note_locks();
"""


async def histories(settings: Settings) -> list[History]:
    """SALES sales over BLOCKS blocks, and for each the history of one paid order."""
    found = []
    async with open_rig(settings) as rig:
        for number in range(SALES):
            if number % (SALES // BLOCKS) == 0:
                first = 1000 * number // (SALES // BLOCKS) + 1
                await rig.ledger.execute(
                    f"ALTER TABLE sales ALTER ledger_number RESTART WITH {first}"
                )
            (history,) = await rig.open_sale(f"sale-{number}")
            history.load()
            history.reserve("ann", 2)
            found.append(history)
    return found


async def test_a_batch_over_many_sales_locks_blocks_and_not_sales(settings: Settings) -> None:
    sales = await histories(settings)
    async with open_rig(settings) as rig:
        await rig.ledger.execute(NOTE_LOCKS)
        await rig.writer.apply([entry for sale in sales for entry in sale.entries])
        later = [entry for sale in sales for entry in (sale.confirm("ann", 2), sale.adjust(5))]
        await rig.writer.apply(later)
        first = [sale.entries[1] for sale in sales]  # comes twice: is compared with the history
        items = decode_items([*first, *(s.adjust(1) for s in sales)])
        report = await rig.writer.ledger.apply(items)
        assert report.repeated == SALES
        assert (
            await rig.ledger.fetchval("SELECT count(*) FROM reservations WHERE state = 'confirmed'")
            == SALES
        )
        assert await rig.ledger.fetchval("SELECT count(DISTINCT block) FROM order_lines") == BLOCKS
        locks = [row["locks"] for row in await rig.ledger.fetch("SELECT locks FROM seen")]
        assert len(locks) >= 3
        assert max(locks) <= LOCKS_MAX + BLOCKS * LOCKS_OF_A_BLOCK


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("orders_of_buyer", BLOCKS),
        ("reservations_by_id", 1),
        ("lines_by_reservation", 1),
        ("order_events_by_reservation", 1),
    ],
)
async def test_a_buyers_orders_lock_blocks_and_not_sales(
    settings: Settings, name: str, blocks: int
) -> None:
    sales = await histories(settings)
    async with open_rig(settings) as rig:
        await rig.writer.apply([entry for sale in sales for entry in sale.entries])
    arguments: tuple[object, ...] = ([sales[0].reservation_id("ann")],)
    if name == "orders_of_buyer":
        arguments = ("ann", None, None, SALES)
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        async with ledger.transaction():
            rows = await ledger.fetch(READING[name], *arguments)
            assert len(rows) == (SALES if name == "orders_of_buyer" else 1)
            assert await ledger.fetchval(LOCKS) <= 30 + blocks * LOCKS_OF_A_BLOCK
    finally:
        await ledger.close()
