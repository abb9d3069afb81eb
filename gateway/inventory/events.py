"""Events: every change of one partition, numbered (epoch, sequence) without a hole.

The scripts write events, the relay carries them unchanged, the order writer folds them. Each type
has a struct, chosen by the JSON field `type`, which is also the name of the script that writes it.
Instants (`occurred_at`, `deadline`) are milliseconds since 1970 on Redis' clock. Money is in minor
units. `decode_event` raises msgspec.DecodeError or msgspec.ValidationError for any other bytes.
"""

from typing import Annotated, Literal

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
AdmissionNumber = Annotated[int, msgspec.Meta(ge=1, le=99_999_999_999_999)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=99_999_999_999_999)]
Ordinal = Annotated[int, msgspec.Meta(ge=0, le=9_007_199_254_740_991)]
Text = Annotated[str, msgspec.Meta(max_length=255)]
Value = Annotated[str, msgspec.Meta(max_length=4096)]


class EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Units of one item at one location."""

    sku: Text
    location: Text
    quantity: PositiveInt
    unit_price: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class LoadedAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stock account as it was loaded at the sale's opening."""

    sku: Text
    location: Text
    units: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    unit_price: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    limit: PositiveInt
    floor: Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """A place in a partition's history."""

    epoch: Ordinal
    sequence: Ordinal


# Without gc: events form no cycles, and the order writer has thousands of events at a time.
class _Numbered(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    v: Literal[1]
    event_id: Text
    sale_id: Text
    partition: Ordinal
    epoch: Ordinal
    sequence: Ordinal
    occurred_at: Instant

    @property
    def position(self) -> Position:
        """The position of this event in its partition's history."""
        return Position(self.epoch, self.sequence)


class _OfReservation(_Numbered, frozen=True, kw_only=True):
    reservation_id: Text
    buyer_id: Text
    lines: tuple[EventLine, ...]


class Load(_Numbered, frozen=True, kw_only=True, tag="load", forbid_unknown_fields=True):
    """The partition was made, closed to buyers, with this stock."""

    accounts: tuple[LoadedAccount, ...]
    hold_ms: Ordinal
    extension_ms: Ordinal
    opens_at: Instant
    closes_at: Instant
    split: bool
    waiting_room: bool = False
    unpaid_per_buyer: Ordinal = 100
    cooldown_after: Ordinal = 0
    cooldown_ms: Ordinal = 0
    cooldown_max_ms: Ordinal = 0
    unpaid_window_ms: Ordinal = 0


class SetState(_Numbered, frozen=True, kw_only=True, tag="set_state", forbid_unknown_fields=True):
    """The sale (sku null), or one of its items, changed state."""

    from_: str = msgspec.field(name="from")
    to: Literal["open", "paused", "closed"]
    sku: Text | None
    actor: Text


class Reserve(_OfReservation, frozen=True, kw_only=True, tag="reserve", forbid_unknown_fields=True):
    """available → held; `admission`: the number it spent, in a sale with a waiting room."""

    fingerprint: Text
    deadline: Instant
    admission: AdmissionNumber | None = None


class Confirm(_OfReservation, frozen=True, kw_only=True, tag="confirm", forbid_unknown_fields=True):
    """held → sold for `lines`; held → available for `released`."""

    released: tuple[EventLine, ...]
    payment_reference: Text


class Cancel(_OfReservation, frozen=True, kw_only=True, tag="cancel", forbid_unknown_fields=True):
    """held → available, on request of `actor`."""

    actor: Text


class Expire(_OfReservation, frozen=True, kw_only=True, tag="expire", forbid_unknown_fields=True):
    """held → available, after the deadline has passed."""


class Extend(_OfReservation, frozen=True, kw_only=True, tag="extend", forbid_unknown_fields=True):
    """The hold's deadline moved to a later instant; `extended_ms`: the sum of all extensions.
    `extend_key` and `asked_ms` are those of a call with an Idempotency-Key, else None.
    """

    deadline: Instant
    extended_ms: Ordinal
    extend_key: Text | None = None
    asked_ms: PositiveInt | None = None


class ReturnUnits(
    _OfReservation, frozen=True, kw_only=True, tag="return_units", forbid_unknown_fields=True
):
    """sold → available (restock), or sold → adjusted, negative (written off)."""

    restock: bool
    reason: Text
    return_key: Text
    fingerprint: Text


class Adjust(_Numbered, frozen=True, kw_only=True, tag="adjust", forbid_unknown_fields=True):
    """An operator put `delta` units into an account, or took them out (negative). `adjust_key` and
    `fingerprint` are those of a call with an Idempotency-Key, else None.
    """

    sku: Text
    location: Text
    delta: Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
    reason: Text
    actor: Text
    adjust_key: Text | None = None
    fingerprint: Text | None = None


class Recover(_Numbered, frozen=True, kw_only=True, tag="recover", forbid_unknown_fields=True):
    """The first event of an epoch above 1; `previous`: the ledger's closing position of the epoch
    before.

    Every hold's deadline moved by `shift_ms`, the length of the outage.
    """

    previous: Position
    shift_ms: Ordinal
    restored: bool


class Rebase(_Numbered, frozen=True, kw_only=True, tag="rebase", forbid_unknown_fields=True):
    """The server's clock was set back; every hold's deadline moved by `shift_ms`, a negative
    number, so that it kept the time it had left.
    """

    shift_ms: Annotated[int, msgspec.Meta(ge=-99_999_999_999_999, le=-1)]


class Repaired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value in Redis that differed from the ledger, as text; null: no value."""

    field: Text
    before: Value | None
    after: Value | None


class Repair(_Numbered, frozen=True, kw_only=True, tag="repair", forbid_unknown_fields=True):
    """Values in Redis were set to those of the ledger, so the ledger folds nothing from this event.

    `repair_id` is `reconciliation:difference`. The target is an account (sku, location), a
    reservation (reservation_id, buyer_id) or a buyer (buyer_id); the other fields are null.
    """

    repair_id: Text
    actor: Text
    target: Literal["account", "reservation", "buyer"]
    sku: Text | None
    location: Text | None
    reservation_id: Text | None
    buyer_id: Text | None
    changes: tuple[Repaired, ...]


Event = (
    Load
    | SetState
    | Reserve
    | Confirm
    | Cancel
    | Expire
    | Extend
    | ReturnUnits
    | Adjust
    | Recover
    | Rebase
    | Repair
)

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def decode_event(raw: bytes) -> Event:
    """The event in the JSON bytes, every field checked."""
    return _decoder.decode(raw)


def event_id(sale_id: str, partition: int, position: Position) -> str:
    """`sale:partition:epoch-sequence`, the name of an event in the API, Kafka and logs."""
    return f"{sale_id}:{partition}:{position.epoch}-{position.sequence}"
