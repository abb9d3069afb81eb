"""What the opening of a sale costs: nobody does it twice, and nobody waits for a new block."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import msgspec
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.errors import InventoryError
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import Verb, carry_state, intend_state
from gateway.inventory.store import ReservationStore
from reconciler.context import Context, open_context
from reconciler.duties.blocks import LOOK_SECONDS, NOT_ALLOWED_SECONDS, Blocks
from reconciler.duties.directory import Directory
from reconciler.duties.sights import Sights
from reconciler.duties.window import Window, WindowConfig
from tests.support.sales.partitions import BOUNDS, one_item
from tests.support.sales.pipeline import create_sale
from tests.support.servers import unique
from tests.support.waiting import wait_until

AN_HOUR_SECONDS = 3600.0
TABLES = ("ledger_events", "reservations", "order_lines")


@pytest_asyncio.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    async with open_context(settings) as opened:
        yield opened


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield connection
    await connection.close()


def window(context: Context, patience_seconds: float) -> Window:
    sights = Sights(context.store, Directory(context.ledger))
    return Window(context, sights, WindowConfig(patience_seconds=patience_seconds))


async def is_open(store: ReservationStore, partition: PartitionId) -> bool:
    try:
        return (await store.snapshot(partition)).state == "open"
    except InventoryError:
        return False


async def test_a_sale_that_a_gateway_is_opening_is_left_to_it_for_a_while(
    context: Context, ledger: asyncpg.Connection
) -> None:
    partition = await create_sale(ledger, unique("opening"), one_item(5))
    await intend_state(ledger, partition.sale_id, Verb.OPEN)
    patient, hasty = window(context, AN_HOUR_SECONDS), window(context, 0.0)
    for _ in range(3):
        await patient.run_once()
    assert not await is_open(context.store, partition)
    await hasty.run_once()
    assert await is_open(context.store, partition)


async def test_a_sale_that_opens_by_its_window_is_left_to_nobody(
    context: Context, ledger: asyncpg.Connection
) -> None:
    opens_at = datetime.now(UTC) - timedelta(seconds=1)
    spec = msgspec.structs.replace(one_item(5), opens_at=opens_at)
    partition = await create_sale(ledger, unique("opening"), spec)
    await window(context, AN_HOUR_SECONDS).run_once()
    assert await is_open(context.store, partition)


async def test_carrying_a_state_waits_for_the_disk_where_something_is_written(
    context: Context, ledger: asyncpg.Connection
) -> None:
    partition = await create_sale(ledger, unique("opening"), one_item(5))
    await intend_state(ledger, partition.sale_id, Verb.OPEN)
    asked: list[str] = []
    ledger.add_query_logger(lambda record: asked.append(record.query))
    await carry_state(ledger, context.store, partition.sale_id, BOUNDS, actor="test")
    await wait_until(lambda: sum(query.startswith("COMMIT") for query in asked) == 2)
    transactions = "\n".join(asked).split("COMMIT")[:-1]
    assert ["synchronous_commit" in each for each in transactions] == [False, True]
    assert ["UPDATE" in each for each in transactions] == [True, False]


async def blocks(ledger: asyncpg.Connection) -> set[str]:
    rows = await ledger.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhrelid::regclass::text LIKE '%_block_%' AND inhparent::regclass::text = ANY($1)",
        TABLES,
    )
    return {row["name"] for row in rows}


async def add_sale(ledger: asyncpg.Connection, number: int) -> None:
    await ledger.execute(f"ALTER TABLE sales ALTER ledger_number RESTART WITH {number}")
    await create_sale(ledger, unique("numbered"), one_item(5))


async def test_the_next_block_is_made_when_the_newest_is_half_full(
    context: Context, ledger: asyncpg.Connection
) -> None:
    duty = Blocks(context.ledger)
    await duty.run_once()  # no sale has a number yet
    await add_sale(ledger, 1499)
    made = await blocks(ledger)
    assert await duty.run_once() == LOOK_SECONDS
    assert await blocks(ledger) == made
    await add_sale(ledger, 1500)
    for _ in range(3):
        await duty.run_once()
    assert await blocks(ledger) - made == {f"{table}_block_2" for table in TABLES}


async def test_without_the_right_to_make_tables_the_gateway_goes_on_making_blocks() -> None:
    class Refusing:
        async def execute(self, _query: str) -> None:
            raise asyncpg.InsufficientPrivilegeError("permission denied for schema public")

    assert await Blocks(cast("Any", Refusing())).run_once() == NOT_ALLOWED_SECONDS
