"""Arguments and replies of the scripts, as the arrays that cross the wire.

Each is a MessagePack array in the order of the fields; lua/include/record.lua has the Lua side.
Items and accounts are numbered from 1, in catalogue order. Instants are milliseconds since 1970 on
the server's clock.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from itertools import chain
from typing import NewType, Self

import msgspec

from gateway.inventory.events import Position

# Requested lines, a flat list: item, account or 0 for any, quantity, item, ...
AskedLines = NewType("AskedLines", tuple[int, ...])
# Placed lines, a flat list: account, quantity, account, ...
PlacedLines = NewType("PlacedLines", tuple[int, ...])
NO_LINES_ASKED = AskedLines(())
NO_LINES_PLACED = PlacedLines(())

_encode = msgspec.msgpack.Encoder().encode


class ReservationState(IntEnum):
    """States of a reservation; lua/include/status.lua has this table too."""

    HELD = 1
    CONFIRMED = 2
    CANCELLED = 3
    EXPIRED = 4


class SaleState(StrEnum):
    """States of a sale, in the order of its life."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"


class ReserveRequest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One reserve, from the handler to the script.

    `number` is unique among the process's requests under way; the reply echoes it. `admission`: the
    number of the buyer's admission, 0 without one; the admission ends at `admission_expires_at` on
    the server's clock. `metered`: the request counts towards the buyer's rate limit.
    """

    number: int
    token: str
    buyer_id: str
    fingerprint: str
    lines: AskedLines
    admission: int = 0
    admission_expires_at: int = 0
    metered: bool = False


class BuyerRate(msgspec.Struct, frozen=True, array_like=True):
    """The rate limit of one buyer in a sale: `requests` at once, and as many again, evenly, over
    each window; the argument of lua/reservations/include/buckets.lua.
    """

    requests: int
    window_ms: int


class Reservation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A reservation as a script returns it; `state` is that of its last event, `deadline` is on the
    wall clock.
    """

    token: str
    state: int
    epoch: int
    sequence: int
    accepted_epoch: int
    accepted_sequence: int
    deadline: int
    extended_ms: int
    buyer_id: str
    fingerprint: str
    lines: PlacedLines
    payment_reference: str = ""
    returned: PlacedLines = NO_LINES_PLACED


class AccountCounters(msgspec.Struct, frozen=True, array_like=True):
    """One stock account: loaded + adjusted + transferred = available + held + sold."""

    sku: str
    location: str
    loaded: int
    adjusted: int
    transferred: int
    in_transit: int
    available: int
    held: int
    sold: int


class Snapshot(msgspec.Struct, frozen=True):
    """A partition's counters with their (epoch, sequence), read in one step."""

    epoch: int
    sequence: int
    state: str
    run_id: str
    read_at: int
    shift_ms: int
    ledger_sequence: int
    outbox_length: int
    due_holds: int
    reservations: int
    accounts: tuple[AccountCounters, ...]
    paused_skus: tuple[str, ...]

    @property
    def position(self) -> Position:
        """The number that the counters are at."""
        return Position(self.epoch, self.sequence)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A reservation as it is stored; its deadline is on the partition's clock while it is held,
    afterwards on the wall clock.
    """

    state: int
    epoch: int
    sequence: int
    accepted_epoch: int
    accepted_sequence: int
    deadline: int
    extended_ms: int
    buyer_id: str
    fingerprint: str
    lines: PlacedLines


class ConfirmedRecord(Record, frozen=True, array_like=True):
    """The stored record of a confirmed reservation."""

    payment_reference: str


class ReturnedRecord(ConfirmedRecord, frozen=True, array_like=True):
    """The stored record of a reservation with returned units; keys are `key:fingerprint`."""

    returned: PlacedLines
    return_keys: tuple[str, ...]


class ExtendedRecord(ReturnedRecord, frozen=True, array_like=True):
    """The stored record of a reservation that was extended with a key, in whatever state: without a
    payment its reference is empty. Keys are `key:milliseconds`.
    """

    extend_keys: tuple[str, ...]


class StoredRecord(Record, frozen=True, array_like=True):
    """A reservation in whatever state, as `decode_record` reads it."""

    payment_reference: str | None = None
    returned: PlacedLines = NO_LINES_PLACED
    return_keys: tuple[str, ...] = ()
    extend_keys: tuple[str, ...] = ()

    @property
    def position(self) -> Position:
        """The number of the reservation's last event."""
        return Position(self.epoch, self.sequence)


_stored_record = msgspec.msgpack.Decoder(StoredRecord)
_STATES = frozenset(state.value for state in ReservationState)


def decode_record(raw: bytes) -> StoredRecord | None:
    """The record in a field of a partition's reservations; None for bytes that the scripts did not
    write.
    """
    try:
        record = _stored_record.decode(raw)
    except msgspec.DecodeError:  # or its child ValidationError
        return None
    usable = record.state in _STATES and len(record.lines) % 2 == len(record.returned) % 2 == 0
    return record if usable else None


# Keys of adjustments that a partition keeps (lua/partitions/include/adjustments.lua).
ADJUSTMENT_KEYS_MAX = 1000
# That a partition remembers, as in lua/partitions/include/closed_epochs.lua.
CLOSED_EPOCHS_MAX = 64


class RestoreBegin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """The first stage. `config`: that of `load`; `counters` per account: loaded, adjusted,
    transferred, in_transit, available, held, sold; `adjustments`: the newest adjustments that had a
    key, oldest first, `key:fingerprint`, sequence and instant (ms) of each, at most
    ADJUSTMENT_KEYS_MAX.
    """

    config: msgspec.Raw
    counters: tuple[tuple[int, ...], ...]
    adjustments: tuple[str | int, ...] = ()


# A reservation to restore: its token, its record as `nested`, the instant of its last event in ms,
# the admission it spent or 0.
RestoreEntry = tuple[str, msgspec.Raw, int, int]


class RestoreChunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    """At most 2,000 reservations: the values of their entries, one after the other."""

    values: tuple[object, ...]

    @classmethod
    def of(cls, entries: Iterable[RestoreEntry]) -> Self:
        """A chunk of these entries."""
        return cls(tuple(chain.from_iterable(entries)))


class ClosedEpoch(msgspec.Struct, frozen=True, array_like=True):
    """An epoch that the ledger closed at `last_sequence`; `fingerprint` is that of its last event,
    in hex, empty where the epoch has no event.
    """

    epoch: int
    last_sequence: int
    fingerprint: str
    next_epoch: int


class RestoreCommit(msgspec.Struct, frozen=True, array_like=True, tag="commit"):
    """The last stage: the counts to check, the closing position, the state, the outage's length,
    and the closed epochs for the partition to remember, oldest first, at most CLOSED_EPOCHS_MAX.
    """

    reservations: int
    active_holds: int
    closed_epoch: int
    closed_sequence: int
    state: str
    shift_ms: int
    closed_epochs: tuple[ClosedEpoch, ...] = ()


RestoreStage = RestoreBegin | RestoreChunk | RestoreCommit


class RepairAccount(msgspec.Struct, frozen=True, array_like=True, tag="account"):
    """Deltas of an account's counters at `compared_sequence`: loaded, adjusted, transferred,
    in_transit, available, held, sold. `repair_id` is `reconciliation:difference`.
    """

    repair_id: str
    actor: str
    account: int
    compared_sequence: int
    deltas: tuple[int, ...]


class RepairReservation(msgspec.Struct, frozen=True, array_like=True, tag="reservation"):
    """A reservation as the ledger has it, False without one; it was compared at its last number,
    (0, 0) without a record in Redis.
    """

    repair_id: str
    actor: str
    token: str
    compared_epoch: int
    compared_sequence: int
    record: Record | bool


class RepairBuyer(msgspec.Struct, frozen=True, array_like=True, tag="buyer"):
    """A buyer's numbers: {item, held + sold, ...}, under key 0 the highest admission number spent,
    under -1 the reservations given back. `compared_sha1`: SHA-1 of the field compared, in hex.
    """

    repair_id: str
    actor: str
    buyer_id: str
    compared_sha1: str
    numbers: tuple[int, ...]


RepairRequest = RepairAccount | RepairReservation | RepairBuyer


def nested(value: object) -> msgspec.Raw:
    """`value` packed inside a message as a string, since cmsgpack has no binary type."""
    packed = _encode(value)
    size = len(packed)
    header = b"\xd9%c" % size if size < 256 else b"\xdb" + size.to_bytes(4, "big")
    return msgspec.Raw(header + packed)
