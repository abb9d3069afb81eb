"""A sale of very many reservations, stored by SQL as the order writer would have stored them.

Half of the reservations are confirmed, three tenths held, the rest expired.
"""

import signal
from functools import partial

import asyncpg

from config.waiting import poll_until
from loadtest.bench.machine.queries import QUERIES
from loadtest.bench.machine.stack import Stack, StackError

STOCK = 2_000_000  # of each SKU
TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.05
TABLES = ("fill_reservations", "fill_order_lines", "fill_ledger_events")


async def stop_when_compared(stack: Stack, sale_id: str) -> None:
    """Stop reconciler and order writer once the new sale's first comparison has ended.

    A comparison stopped in the middle would go on beside the rebuild, over a million new events.
    """
    connection = await asyncpg.connect(stack.running.postgres)
    try:
        is_compared = partial(connection.fetchval, QUERIES["compared"], sale_id)
        if not await poll_until(is_compared, TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError("the new sale was never compared")
    finally:
        await connection.close()
    for process in ("reconciler", "order_writer"):
        stack.signal(process, signal.SIGSTOP)


async def fill(dsn: str, sale_id: str, count: int) -> None:
    """Store `count` reservations of as many buyers, and gather statistics as autovacuum would."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(QUERIES["wait_for_ever"])
        async with connection.transaction():
            first = await connection.fetchval(QUERIES["applied"], sale_id) + 1
            for name in TABLES:
                await connection.execute(QUERIES[name], sale_id, count, first)
            await connection.execute(QUERIES["fill_accounts"], sale_id)
            await connection.execute(QUERIES["fill_watermark"], sale_id, first + count - 1)
        await connection.execute(QUERIES["gather_statistics"])
        await connection.execute(QUERIES["checkpoint"])
    finally:
        await connection.close()
