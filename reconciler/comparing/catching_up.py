"""Waiting for the ledger to reach a number."""

import asyncio

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from reconciler.context import QUERIES

POLL_FIRST_SECONDS = 0.01
POLL_MOST_SECONDS = 0.2


class LedgerBehind(Exception):
    """The ledger did not reach a number in time: nothing can be said about balance."""


async def wait_for_ledger(
    ledger: asyncpg.Pool, partition: PartitionId, position: Position, timeout_seconds: float
) -> Position:
    """How far the ledger has applied the partition: at least `position`, or LedgerBehind."""
    loop = asyncio.get_running_loop()
    deadline, pause_seconds = loop.time() + timeout_seconds, POLL_FIRST_SECONDS
    while True:
        row = await ledger.fetchrow(QUERIES["watermark"], partition.sale_id, partition.number)
        applied = Position(0, 0) if row is None else Position(row["epoch"], row["sequence"])
        if applied >= position:
            return applied
        if loop.time() >= deadline:
            raise LedgerBehind(f"{partition}: at {applied}, asked for {position}")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, POLL_MOST_SECONDS)
