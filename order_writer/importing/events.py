"""The events after the missing numbers: each is stored under its number, as the writer stores it.

What they did to reservations that were accepted after the missing numbers is folded as always. An
earlier reservation comes from its record, which has some of these events in it already: only events
beyond the record's own last number are folded over it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position, Rebase, Recover, Repair, Reserve
from gateway.inventory.keys import PartitionId
from order_writer.folding.fold import Fold
from order_writer.folding.items import Item
from order_writer.folding.rows import Folded, LineChange, LineRow
from order_writer.importing.queries import QUERIES
from order_writer.ledger import statements
from order_writer.log.event_log import format_position

# Change all holds, or a record, and say no more: records that were read before lack it.
_BEYOND_RECORDS = Rebase | Recover | Repair

Account = tuple[str, str]  # sku, location


@dataclass(slots=True)
class Events:
    """Stores the events of one partition, in order. `read_from`: when the reading of the records
    began. Of the events together: `moved` (adjusted, available, held, sold) and `returned` by
    account; the `last` of them.
    """

    connection: statements.Connection
    partition: PartitionId
    block: int
    read_from: Position
    moved: dict[Account, list[int]] = field(default_factory=dict)
    returned: Counter[Account] = field(default_factory=Counter)
    last: Item | None = None
    _own: set[str] = field(default_factory=set)

    async def store(self, items: Sequence[Item]) -> None:
        """Store events, and reservations accepted in them.

        Raises Recovering where one of them has made the records out of date: begin again.
        """
        for run in _runs(items):
            self._check(run)
            whole, own = Fold(), Fold()
            whole.add(run)
            self._own.update(
                item.event.reservation_id for item in run if isinstance(item.event, Reserve)
            )
            own.add(item for item in run if item.reservation_id in self._own)
            folded, rows = whole.result(), own.result()
            for change in folded.accounts:
                moved = self.moved.setdefault((change.sku, change.location), [0, 0, 0, 0])
                for index, units in enumerate(change[4:]):
                    moved[index] += units
            lines: list[LineRow | LineChange] = [*folded.lines, *folded.line_changes]
            for line in lines:
                self.returned[line.sku, line.location] += line.returned
            stored = Folded(
                ledger=folded.ledger, shifts=folded.shifts, reservations=rows.reservations,
                lines=rows.lines, changes=rows.changes, line_changes=rows.line_changes,
            )  # fmt: skip
            await statements.write(self.connection, stored)
        self.last = items[-1]

    async def fold_over_records(self, items: Sequence[Item]) -> None:
        """Fold the same events over the reservations that came from records."""
        earlier = [
            item
            for item in items
            if item.reservation_id is not None and item.reservation_id not in self._own
        ]
        if not earlier:
            return
        rows = await self.connection.fetch(
            QUERIES["positions"].format(block=self.block),
            list({item.reservation_id for item in earlier}),
        )
        known = {
            row["reservation_id"]: Position(row["last_epoch"], row["last_sequence"]) for row in rows
        }
        fold = Fold()
        # What neither side has (a record that cannot be read) is left to the next comparison.
        fold.add(
            item
            for item in earlier
            if item.entry.position > known.get(str(item.reservation_id), item.entry.position)
        )
        folded = fold.result()
        await statements.write(
            self.connection, Folded(changes=folded.changes, line_changes=folded.line_changes)
        )

    def _check(self, run: Sequence[Item]) -> None:
        for item in run:
            position = item.entry.position
            late = position > self.read_from and isinstance(item.event, _BEYOND_RECORDS)
            if late or item.death is not None:
                raise Recovering(
                    f"{self.partition}: {format_position(position)} makes the records outdated"
                )


def _runs(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut before each event that moves the deadlines of the holds before it."""
    begin = 0
    for index, item in enumerate(items):
        if index > begin and isinstance(item.event, Recover | Rebase):
            yield items[begin:index]
            begin = index
    yield items[begin:]
