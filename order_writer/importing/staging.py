"""Redis' records as rows of the table that an import stages them in."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, ReservationId
from gateway.inventory.types import ReservationState, StoredRecord, decode_record
from order_writer.importing.errors import ImportRefused

RECORD_COLUMNS = (
    "reservation_id", "buyer_id", "state", "fingerprint", "deadline", "extended_ms",
    "payment_reference", "accepted_epoch", "accepted_sequence", "last_epoch", "last_sequence",
    "accounts", "units", "returned", "return_keys", "extend_keys",
)  # fmt: skip
BUYER_COLUMNS = ("buyer_id", "admission")
Row = tuple[object, ...]


@dataclass(slots=True)
class Staging:
    """Makes rows of pages of records.

    Left out are reservations accepted after `last`: their events are all there. `unreadable`
    counts fields that are no record. `shift_ms`: what the deadlines of holds lack to the wall
    clock; `accounts`: how many the partition has.
    """

    partition: PartitionId
    last: Position
    shift_ms: int
    accounts: int
    unreadable: int = 0

    def rows(self, page: Mapping[str, bytes]) -> list[Row]:
        """Rows of a page of records, by token. Raises ImportRefused for an unknown account."""
        rows = []
        for token, raw in page.items():
            record = decode_record(raw)
            if record is None:
                self.unreadable += 1
            elif Position(record.accepted_epoch, record.accepted_sequence) <= self.last:
                rows.append(self._row(token, record))
        return rows

    def _row(self, token: str, record: StoredRecord) -> Row:
        accounts, units = record.lines[::2], record.lines[1::2]
        if not all(1 <= account <= self.accounts for account in accounts):
            raise ImportRefused(f"{token} has units of an account that the sale has not")
        back = dict(zip(record.returned[::2], record.returned[1::2], strict=True))
        state = ReservationState(record.state)
        shift_ms = self.shift_ms if state is ReservationState.HELD else 0
        return (
            str(ReservationId(self.partition, token)), record.buyer_id, state.name.lower(),
            record.fingerprint, record.deadline + shift_ms, record.extended_ms,
            record.payment_reference or None, record.accepted_epoch, record.accepted_sequence,
            record.epoch, record.sequence, accounts, units,
            [back.get(account, 0) for account in accounts], record.return_keys, record.extend_keys,
        )  # fmt: skip
