"""Which partitions there are: read from the ledger, remembered while it is away."""

from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import SaleState
from reconciler.context import QUERIES

REFRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LivePartition:
    """A partition that Redis serves, and how far the ledger has applied it.

    `was_loaded`: Redis has had it, so that keys that are missing now are lost.
    """

    partition: PartitionId
    sale_state: SaleState
    watermark: Position
    was_loaded: bool

    def __str__(self) -> str:
        """`sale:partition`."""
        return str(self.partition)


async def read_partitions(
    ledger: asyncpg.Pool, sale_id: str | None = None
) -> tuple[LivePartition, ...]:
    """All live partitions, or those of one sale, as the ledger has them now."""
    rows = await ledger.fetch(QUERIES["live_partitions"])
    return tuple(
        LivePartition(
            PartitionId(row["sale_id"], row["partition"]),
            SaleState(row["state"]),
            Position(row["epoch"], row["sequence"]),
            row["was_loaded"],
        )
        for row in rows
        if sale_id in {None, row["sale_id"]}
    )


class Directory:
    """The partitions as last read, read again beside the duties that use them: returning holds must
    not wait for a ledger that is away, or hangs.
    """

    name: ClassVar[str] = "directory"
    needs_lead: ClassVar[bool] = False
    deadline_seconds: ClassVar[float] = 5.0

    def __init__(self, ledger: asyncpg.Pool) -> None:
        self._ledger = ledger
        self.partitions: tuple[LivePartition, ...] = ()

    async def run_once(self) -> float:
        """Read the partitions again."""
        self.partitions = await read_partitions(self._ledger)
        return REFRESH_SECONDS
