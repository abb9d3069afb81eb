"""Events: every change of one partition, numbered (epoch, sequence) without a hole.

The scripts write them, the relay carries them untouched, the order writer folds them. One struct
per type, told apart by the JSON field `type`, which is also the name of the script that wrote it.
Instants (`occurred_at`, `deadline`) are milliseconds since 1970 on Redis' clock. Money is in minor
units. `decode_event` raises msgspec.DecodeError or msgspec.ValidationError for anything else.
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
    """One stock account as the sale was opened with it."""

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


# Without gc: an event is in no cycle, and the order writer has thousands of them at a time.
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
        """Where this event stands in its partition."""
        return Position(self.epoch, self.sequence)


class _OfReservation(_Numbered, frozen=True, kw_only=True):
    reservation_id: Text
    buyer_id: Text
    lines: tuple[EventLine, ...]


class Load(_Numbered, frozen=True, kw_only=True, tag="load", forbid_unknown_fields=True):
    """The partition came to be, closed to buyers, with this stock."""

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


class SetState(_Numbered, frozen=True, kw_only=True, tag="set_state", forbid_unknown_fields=True):
    """The sale (sku null), or one of its items, changed state."""

    from_: str = msgspec.field(name="from")
    to: Literal["open", "paused", "closed"]
    sku: Text | None
    actor: Text


class Reserve(_OfReservation, frozen=True, kw_only=True, tag="reserve", forbid_unknown_fields=True):
    """available → held; `admission` is the number it spent, where the sale has a waiting room."""

    fingerprint: Text
    deadline: Instant
    admission: AdmissionNumber | None = None


class Confirm(_OfReservation, frozen=True, kw_only=True, tag="confirm", forbid_unknown_fields=True):
    """held → sold for `lines`; held → available for `released`."""

    released: tuple[EventLine, ...]
    payment_reference: Text


class Cancel(_OfReservation, frozen=True, kw_only=True, tag="cancel", forbid_unknown_fields=True):
    """held → available, asked for by `actor`."""

    actor: Text


class Expire(_OfReservation, frozen=True, kw_only=True, tag="expire", forbid_unknown_fields=True):
    """held → available, the deadline having passed."""


class Extend(_OfReservation, frozen=True, kw_only=True, tag="extend", forbid_unknown_fields=True):
    """A later deadline; `extended_ms` is the sum of all extensions."""

    deadline: Instant
    extended_ms: Ordinal


class ReturnUnits(
    _OfReservation, frozen=True, kw_only=True, tag="return_units", forbid_unknown_fields=True
):
    """sold → available (restock), or sold → adjusted, negative (written off)."""

    restock: bool
    reason: Text
    return_key: Text
    fingerprint: Text


class Adjust(_Numbered, frozen=True, kw_only=True, tag="adjust", forbid_unknown_fields=True):
    """`delta` units put into, or taken out of, an account by an operator."""

    sku: Text
    location: Text
    delta: Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
    reason: Text
    actor: Text


class Recover(_Numbered, frozen=True, kw_only=True, tag="recover", forbid_unknown_fields=True):
    """First event of an epoch above 1: `previous` is where the ledger closed the one before.

    Every hold's deadline moved by `shift_ms`, the length of the outage.
    """

    previous: Position
    shift_ms: Ordinal
    restored: bool


class Repaired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value that was not what the ledger has, as text; null where there was none."""

    field: Text
    before: Value | None
    after: Value | None


class Repair(_Numbered, frozen=True, kw_only=True, tag="repair", forbid_unknown_fields=True):
    """Redis was set to what the ledger has, so the ledger folds nothing from it.

    `repair_id` is `reconciliation:difference`. The target is an account (sku, location), a
    reservation (reservation_id, buyer_id) or a buyer (buyer_id); what does not belong is null.
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
    | Repair
)

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def decode_event(raw: bytes) -> Event:
    """One event from its JSON bytes, every field checked."""
    return _decoder.decode(raw)


def event_id(sale_id: str, partition: int, position: Position) -> str:
    """`sale:partition:epoch-sequence`, the name of an event everywhere."""
    return f"{sale_id}:{partition}:{position.epoch}-{position.sequence}"
