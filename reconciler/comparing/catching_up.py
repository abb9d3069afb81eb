"""Waiting for the ledger to reach a number."""

import asyncpg

from config.waiting import poll_until
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
    """How far the ledger has applied the partition: at least `position`.

    Raises LedgerBehind when the ledger does not reach `position` within `timeout_seconds`.
    """
    applied = Position(0, 0)

    async def is_reached() -> bool:
        nonlocal applied
        row = await ledger.fetchrow(QUERIES["watermark"], partition.sale_id, partition.number)
        if row is not None:
            applied = Position(row["epoch"], row["sequence"])
        return applied >= position

    if not await poll_until(
        is_reached,
        timeout_seconds,
        first_seconds=POLL_FIRST_SECONDS,
        most_seconds=POLL_MOST_SECONDS,
    ):
        raise LedgerBehind(f"{partition}: at {applied}, asked for {position}")
    return applied
