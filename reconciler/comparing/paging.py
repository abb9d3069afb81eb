"""Which reservations, or buyers, a comparison looks at: all of the ledger, or those that changed.

A partition that was found balanced at one number can only have drifted by accident since, and most
of it has not been touched: the next comparisons look at what has changed, and now and then at all.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import START
from reconciler.comparing.judging import LedgerReservation
from reconciler.context import QUERIES, Context


@dataclass(frozen=True, slots=True)
class Scope:
    """A partition up to `until`, in pages of `page_size`; with `since`, only what changed after."""

    context: Context
    partition: PartitionId
    until: Position
    page_size: int
    since: Position | None = None

    async def reservations(self) -> AsyncIterator[dict[str, LedgerReservation]]:
        """Reservations by token; with `since`, one may come on more than one page."""
        if self.since is None:
            async for page in self._all_reservations():
                yield page
            return
        async for ids, _ in self._changed(self.since):
            rows = await self.context.ledger.fetch(QUERIES["reservations_by_id"], ids)
            yield {row.token: row for row in map(LedgerReservation.of, rows)}

    async def buyers(self) -> AsyncIterator[Sequence[str]]:
        """Buyers; with `since`, one may come on more than one page."""
        if self.since is None:
            async for page in self._all_buyers():
                yield page
            return
        async for _, buyers in self._changed(self.since):
            yield buyers

    async def _all_reservations(self) -> AsyncIterator[dict[str, LedgerReservation]]:
        after = START
        while True:
            rows = await self.context.ledger.fetch(
                QUERIES["reservations_page"],
                self.partition.sale_id,
                self.partition.number,
                after.epoch,
                after.sequence,
                self.until.epoch,
                self.until.sequence,
                self.page_size,
            )
            page = [LedgerReservation.of(row) for row in rows]
            if page:
                yield {reservation.token: reservation for reservation in page}
                after = page[-1].accepted
            if len(page) < self.page_size:
                return

    async def _all_buyers(self) -> AsyncIterator[Sequence[str]]:
        after = ""
        while True:
            rows = await self.context.ledger.fetch(
                QUERIES["buyers_page"],
                self.partition.sale_id,
                self.partition.number,
                after,
                self.until.epoch,
                self.until.sequence,
                self.page_size,
            )
            buyers = [row["buyer_id"] for row in rows]
            if buyers:
                yield buyers
                after = buyers[-1]
            if len(buyers) < self.page_size:
                return

    async def _changed(self, since: Position) -> AsyncIterator[tuple[list[str], list[str]]]:
        """Ids of reservations and of their buyers, each once a page."""
        after = since
        while True:
            rows = await self.context.ledger.fetch(
                QUERIES["changed_between"],
                self.partition.sale_id,
                self.partition.number,
                after.epoch,
                after.sequence,
                self.until.epoch,
                self.until.sequence,
                self.page_size,
            )
            if rows:
                ids = dict.fromkeys(row["reservation_id"] for row in rows)
                buyers = dict.fromkeys(row["buyer_id"] for row in rows)
                yield list(ids), list(buyers)
                after = Position(rows[-1]["epoch"], rows[-1]["sequence"])
            if len(rows) < self.page_size:
                return
