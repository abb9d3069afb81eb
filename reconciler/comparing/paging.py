"""Which reservations, or buyers, a comparison looks at: all of the ledger, or those that changed.

A partition that was found balanced at one number can only have drifted by accident since, and most
of it has not been touched: the next comparisons look at what has changed, and now and then at
everything.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from reconciler.comparing.judging import LedgerReservation
from reconciler.context import QUERIES, Context

# The columns a page is continued after.
Key = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """A partition up to `until`, in pages of `page_size`; with `since`, only what changed after."""

    context: Context
    partition: PartitionId
    until: Position
    page_size: int
    since: Position | None = None

    async def reservations(self) -> AsyncIterator[dict[str, LedgerReservation]]:
        """Reservations by token; with `since`, a reservation may be on more than one page."""
        if self.since is None:
            async for page in self._all_reservations():
                yield page
            return
        async for ids, _ in self._changed(self.since):
            rows = await self.context.ledger.fetch(QUERIES["reservations_by_id"], ids)
            yield {row.token: row for row in map(LedgerReservation.of, rows)}

    async def buyers(self) -> AsyncIterator[Sequence[str]]:
        """Buyers; with `since`, a buyer may be on more than one page."""
        if self.since is None:
            async for page in self._all_buyers():
                yield page
            return
        async for _, buyers in self._changed(self.since):
            yield buyers

    async def _all_reservations(self) -> AsyncIterator[dict[str, LedgerReservation]]:
        async for rows in self._rows("reservations_page", (0, 0), _accepted):
            yield {row.token: row for row in map(LedgerReservation.of, rows)}

    async def _all_buyers(self) -> AsyncIterator[Sequence[str]]:
        async for rows in self._rows("buyers_page", ("",), lambda row: (row["buyer_id"],)):
            yield [row["buyer_id"] for row in rows]

    async def _changed(self, since: Position) -> AsyncIterator[tuple[list[str], list[str]]]:
        """Ids of reservations and of their buyers, each once a page."""
        async for rows in self._rows("changed_between", (since.epoch, since.sequence), _applied):
            ids = dict.fromkeys(row["reservation_id"] for row in rows)
            buyers = dict.fromkeys(row["buyer_id"] for row in rows)
            yield list(ids), list(buyers)

    async def _rows(
        self, query: str, after: Key, key_of: Callable[[asyncpg.Record], Key]
    ) -> AsyncIterator[list[asyncpg.Record]]:
        """The pages of a query that continues after a row's key, without empty ones."""
        place = (self.partition.sale_id, self.partition.number)
        until = (self.until.epoch, self.until.sequence)
        while True:
            rows = await self.context.ledger.fetch(
                QUERIES[query], *place, *after, *until, self.page_size
            )
            if rows:
                yield rows
                after = key_of(rows[-1])
            if len(rows) < self.page_size:
                return


def _accepted(row: asyncpg.Record) -> Key:
    return row["accepted_epoch"], row["accepted_sequence"]


def _applied(row: asyncpg.Record) -> Key:
    return row["epoch"], row["sequence"]
