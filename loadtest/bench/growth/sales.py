"""Sales of a running stack that make it large: settled ones by SQL, live ones by HTTP."""

import asyncio
from collections.abc import Sequence
from functools import partial

import asyncpg

from config.waiting import poll_until
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.queries import QUERIES
from loadtest.bench.machine.stack import StackError
from loadtest.bench.sale import AMPLE_STOCK

SALES_EACH_TIME = 1_000
OPENED_AT_ONCE = 4
TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.1
RESERVATIONS_OF_OLD_SALE = 10


async def add_old_sales(ledger: asyncpg.Connection, first: int, count: int) -> None:
    """Store settled sales with the numbers from `first` on.

    Each has ten confirmed reservations and everything that says there is nothing left to do.
    """
    for start in range(first, first + count, SALES_EACH_TIME):
        end = min(start + SALES_EACH_TIME, first + count) - 1
        async with ledger.transaction():
            await ledger.execute(QUERIES["fill_old_sales"], start, end)
            for name in ("watermarks", "settlements", "removals", "announcements"):
                await ledger.execute(QUERIES[f"fill_old_{name}"], start, end)
            await ledger.execute(
                QUERIES["fill_old_reservations"], start, end, RESERVATIONS_OF_OLD_SALE
            )
            for name in ("order_lines", "ledger_events"):
                await ledger.execute(QUERIES[f"fill_old_{name}"], start, end)


async def open_sales(gate: Gate, ledger: asyncpg.Connection, sale_ids: Sequence[str]) -> None:
    """Open these sales, and wait until the first comparison of every live sale has ended."""
    for start in range(0, len(sale_ids), OPENED_AT_ONCE):
        some = sale_ids[start : start + OPENED_AT_ONCE]
        await asyncio.gather(*(gate.open_sale(one, AMPLE_STOCK, limit=1) for one in some))
    await wait_until_compared(ledger)


async def wait_until_compared(ledger: asyncpg.Connection) -> None:
    """Wait until no live sale lacks its first comparison. Raises StackError."""
    is_compared = partial(ledger.fetchval, QUERIES["all_compared"])
    if not await poll_until(is_compared, TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError("the new sales were never compared")
