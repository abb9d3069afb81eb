"""What changed in a partition since it was last found equal, page by page.

A partition that was equal at one number can only have drifted by accident since, and most of it has
not been touched: periodic comparisons look at what has changed, and now and then at everything.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from reconciler.comparing.judging import LedgerReservation
from reconciler.context import QUERIES, Context


@dataclass(frozen=True, slots=True)
class Scope:
    """A partition up to `until`, read in pages of `page_size` reservations or buyers."""

    context: Context
    partition: PartitionId
    until: Position
    page_size: int

    async def changed_reservations(
        self, since: Position
    ) -> AsyncIterator[dict[str, LedgerReservation]]:
        """Reservations with a later event, by token; each may be on more than one page."""
        async for rows in self._changes(since):
            ids = list(dict.fromkeys(row["reservation_id"] for row in rows))
            found = await self.context.ledger.fetch(QUERIES["reservations_by_id"], ids)
            yield {row.token: row for row in map(LedgerReservation.of, found)}

    async def changed_buyers(self, since: Position) -> AsyncIterator[Sequence[str]]:
        """Buyers of reservations with a later event; each may be on more than one page."""
        async for rows in self._changes(since):
            yield list(dict.fromkeys(row["buyer_id"] for row in rows))

    async def _changes(self, since: Position) -> AsyncIterator[list[asyncpg.Record]]:
        """Events after `since` that a reservation has, in their order, without empty pages."""
        place = (self.partition.sale_id, self.partition.number)
        until = (self.until.epoch, self.until.sequence)
        after = (since.epoch, since.sequence)
        while True:
            rows = await self.context.ledger.fetch(
                QUERIES["changed_between"], *place, *after, *until, self.page_size
            )
            if rows:
                yield rows
                after = (rows[-1]["epoch"], rows[-1]["sequence"])
            if len(rows) < self.page_size:
                return
