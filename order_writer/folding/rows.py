"""Rows of the ledger as the fold makes them.

Rows that are only ever added have their table's column names as fields; the fields of all other
rows are in the order of their statement in ledger/sql/queries.sql. Instants are milliseconds since
1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class LedgerRow(NamedTuple):
    """One number of a partition's history."""

    sale_id: str
    partition: int
    epoch: int
    sequence: int
    type: str
    reservation_id: str | None
    occurred_at: int | None
    fingerprint: bytes
    payload: str


class ReservationRow(NamedTuple):
    """A reservation accepted in this batch, as the batch leaves it."""

    reservation_id: str
    sale_id: str
    partition: int
    buyer_id: str
    state: str
    fingerprint: str
    deadline: int
    extended_ms: int
    payment_reference: str | None
    accepted_epoch: int
    accepted_sequence: int
    last_epoch: int
    last_sequence: int
    created_at: int
    updated_at: int
    admission: int | None


class ReservationChange(NamedTuple):
    """What the batch does to an earlier batch's reservation, which must be in state `required`."""

    sale_id: str
    reservation_id: str
    required: str
    state: str
    deadline: int | None
    extended_ms: int | None
    payment_reference: str | None
    last_epoch: int
    last_sequence: int
    updated_at: int


class LineRow(NamedTuple):
    """A line of a reservation accepted in this batch."""

    reservation_id: str
    sale_id: str
    sku: str
    location: str
    quantity: int
    confirmed: int
    returned: int
    unit_price: int


class LineChange(NamedTuple):
    """Units confirmed and returned of an earlier batch's line."""

    sale_id: str
    reservation_id: str
    sku: str
    location: str
    confirmed: int
    returned: int


class AccountChange(NamedTuple):
    """What the batch adds to the counters of one stock account."""

    sale_id: str
    partition: int
    sku: str
    location: str
    adjusted: int
    available: int
    held: int
    sold: int


class LoadedRow(NamedTuple):
    """An account a partition was loaded with, to be compared with the ledger's own."""

    sale_id: str
    partition: int
    sku: str
    location: str
    units: int


class PausedRow(NamedTuple):
    """An item paused or resumed."""

    sale_id: str
    sku: str
    paused: bool


class ShiftRow(NamedTuple):
    """A partition whose holds' deadlines moved by `shift_ms`; negative: back."""

    sale_id: str
    partition: int
    shift_ms: int


class DeadLetterRow(NamedTuple):
    """An event set aside; `identity` makes a second delivery the same letter."""

    identity: str
    sale_id: str | None
    partition: int | None
    epoch: int | None
    sequence: int | None
    reservation_id: str | None
    reason: str
    error: str
    raw: bytes
    source: str


class MarkRow(NamedTuple):
    """Where a partition stands after the batch; `offsets` is JSON."""

    sale_id: str
    partition: int
    epoch: int
    sequence: int
    fingerprint: bytes
    event_time: int | None
    offsets: str


@dataclass(slots=True)
class Folded:
    """Everything one transaction writes, a list per statement."""

    ledger: list[LedgerRow] = field(default_factory=list)
    shifts: list[ShiftRow] = field(default_factory=list)
    reservations: list[ReservationRow] = field(default_factory=list)
    lines: list[LineRow] = field(default_factory=list)
    changes: list[ReservationChange] = field(default_factory=list)
    line_changes: list[LineChange] = field(default_factory=list)
    accounts: list[AccountChange] = field(default_factory=list)
    loaded: list[LoadedRow] = field(default_factory=list)
    paused: list[PausedRow] = field(default_factory=list)
    dead: list[DeadLetterRow] = field(default_factory=list)
    marks: list[MarkRow] = field(default_factory=list)


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows turned into the arrays that set-based statements unnest."""
    return [list(column) for column in zip(*rows, strict=True)]
