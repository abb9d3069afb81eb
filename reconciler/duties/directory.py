"""Which partitions there are: read from the ledger, remembered while it is away."""

from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import SaleState
from gateway.process.ledger_identity import LedgerIdentity, identity_of
from reconciler.context import QUERIES
from reconciler.keeping.shared import Shared

REFRESH_SECONDS = 1.0
# A list as old as this will do for every duty, unless the ledger has told of a change since.
SHARED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LivePartition:
    """A partition that Redis serves, and how far the ledger has applied it.

    `was_loaded`: Redis has had it, so that keys that are missing now are lost. `ledger`: the ledger
    that says so.
    """

    partition: PartitionId
    sale_state: SaleState
    watermark: Position
    was_loaded: bool
    ledger: LedgerIdentity | None

    def __str__(self) -> str:
        """`sale:partition`."""
        return str(self.partition)


async def read_partitions(
    ledger: asyncpg.Pool, sale_id: str | None = None
) -> tuple[LivePartition, ...]:
    """All live partitions, or those of one sale, as the ledger has them now."""
    rows, said_by = await _read_rows(ledger, sale_id)
    return tuple(_live(row, said_by) for row in rows)


async def _read_rows(
    ledger: asyncpg.Pool, sale_id: str | None
) -> tuple[list[asyncpg.Record], LedgerIdentity | None]:
    async with ledger.acquire() as connection:
        rows = await connection.fetch(QUERIES["live_partitions"], sale_id)
        return rows, identity_of(connection)


def _live(row: asyncpg.Record, said_by: LedgerIdentity | None) -> LivePartition:
    return LivePartition(
        PartitionId(row["sale_id"], row["partition"]),
        SaleState(row["state"]),
        Position(row["epoch"], row["sequence"]),
        row["was_loaded"],
        said_by,
    )


class Directory:
    """The partitions, read once for all duties.

    `partitions`: as last read, read again beside the duties that use them; returning holds must not
    wait for a ledger that is away, or hangs.
    """

    name: ClassVar[str] = "directory"
    needs_lead: ClassVar[bool] = False
    deadline_seconds: ClassVar[float] = 5.0

    def __init__(self, ledger: asyncpg.Pool) -> None:
        self._ledger = ledger
        self._shared = Shared(self._read, SHARED_SECONDS)
        self._said_by: LedgerIdentity | None = None
        # Rows that have not changed keep what was made of them: most do, at every reading.
        self._made: dict[asyncpg.Record, LivePartition] = {}
        self.partitions: tuple[LivePartition, ...] = ()

    async def run_once(self) -> float:
        """Read the partitions again."""
        self.outdate()
        await self.current()
        return REFRESH_SECONDS

    async def current(self) -> tuple[LivePartition, ...]:
        """The partitions as they were SHARED_SECONDS ago at most, and after the last `outdate`.

        Raises the ledger's errors.
        """
        return await self._shared.get()

    def outdate(self) -> None:
        """A sale has changed: who asks from now on is told of it."""
        self._shared.outdate()

    async def _read(self) -> tuple[LivePartition, ...]:
        rows, said_by = await _read_rows(self._ledger, None)
        made = self._made if said_by == self._said_by else {}
        self._said_by = said_by
        self._made = {row: made.get(row) or _live(row, said_by) for row in rows}
        if self._made.keys() != made.keys():
            self.partitions = tuple(self._made.values())
        return self.partitions
