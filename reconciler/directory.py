"""Which partitions there are: read from the ledger, remembered while it is away."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import SaleState
from reconciler.context import sql
from reconciler.notices import Notices

REFRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LivePartition:
    """A partition that Redis serves, and how far the ledger has applied it."""

    partition: PartitionId
    sale_state: SaleState
    watermark: Position

    def __str__(self) -> str:
        """`sale:partition`."""
        return str(self.partition)


async def read_partitions(
    ledger: asyncpg.Pool, sale_id: str | None = None
) -> tuple[LivePartition, ...]:
    """All live partitions, or those of one sale, as the ledger has them now."""
    rows = await ledger.fetch(sql["live_partitions"])
    return tuple(
        LivePartition(
            PartitionId(row["sale_id"], row["partition"]),
            SaleState(row["state"]),
            Position(row["epoch"], row["sequence"]),
        )
        for row in rows
        if sale_id in {None, row["sale_id"]}
    )


class Directory:
    """The partitions as last read. Returning holds must not wait for the ledger."""

    def __init__(self, ledger: asyncpg.Pool) -> None:
        self._ledger = ledger
        self._known: tuple[LivePartition, ...] = ()
        self._stale_at = 0.0
        self._notices = Notices()

    def expire(self) -> None:
        """Read again at the next look."""
        self._stale_at = 0.0

    async def partitions(self) -> Iterable[LivePartition]:
        """The partitions, at most REFRESH_SECONDS old while the ledger can be reached."""
        if time.monotonic() >= self._stale_at:
            self._stale_at = time.monotonic() + REFRESH_SECONDS
            try:
                self._known = await read_partitions(self._ledger)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                self._notices.warn(
                    "partitions_remembered", "ledger", error=str(error) or type(error).__name__
                )
        return self._known
