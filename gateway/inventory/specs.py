"""The definition of a sale: the body of `PUT /v1/sales/{sale}`, stored as `sales.spec`.

`parse_sale_spec` checks everything that can be checked without a server; its SpecError tells the
caller what to change.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from gateway.inventory.keys import NAME

UNITS_MAX = 1_000_000_000
# The largest whole number that every JSON client can read exactly (RFC 8259 section 6).
TOTAL_MAX = 2**53 - 1
ITEMS_MAX = 1000
# Pairs of SKU and location, of a sale and of one SKU; lua/include/catalog.lua has these bounds too.
ACCOUNTS_MAX = 1000
LOCATIONS_MAX = 400
UNPAID_WINDOW_SECONDS = 3600
DEFAULT_LOCATION = "default"

_PRINTED = r"^[^\x00-\x1f\x7f]*$(?!\n)"

Units = Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)]
# `$` alone would accept a line break at the end.
Name = Annotated[str, msgspec.Meta(pattern=rf"^{NAME.pattern}$(?!\n)")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=UNITS_MAX)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class SpecError(ValueError):
    """The body is not a valid sale; the message says why."""


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in minor units of an ISO 4217 currency."""

    amount: Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")]


class ItemSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One SKU of the sale; its stock is a number, or numbers by location in order of preference."""

    sku: Name
    price: Money
    name: Annotated[str, msgspec.Meta(max_length=200, pattern=_PRINTED)] | None = None
    stock: Units | None = None
    locations: dict[Name, Units] | None = None
    floor: Annotated[int, msgspec.Meta(ge=-UNITS_MAX, le=UNITS_MAX)] = 0
    per_buyer_limit: Limit | None = None

    @property
    def units_by_location(self) -> dict[str, int]:
        """Stock by location; a plain `stock` is at the location `default`."""
        if self.locations is not None:
            return self.locations
        return {DEFAULT_LOCATION: self.stock or 0}


class WaitingRoomSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How buyers are let in: at most `max_active_buyers` at a time, each for `admission_seconds`.

    With `order` draw, buyers who join between `prequeue_at` and the opening are shuffled.
    """

    max_active_buyers: Limit
    admission_seconds: Seconds
    prequeue_at: datetime | None = None
    order: Literal["fifo", "draw"] = "fifo"


class CooldownSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A buyer who has given back `after` holds unpaid waits `seconds` before the next hold, twice
    as long after each further hold given back, at most `seconds_max`.
    """

    after: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    seconds: Seconds
    seconds_max: Seconds = 3600


class SaleSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sale with every default filled in. `extension_seconds`: the most that all extensions of a
    hold may add; null means `hold_seconds`. `split_lines`: a line without a location may be served
    from several locations. `unpaid_per_buyer`: how many reservations of a buyer may be held, or
    have been cancelled or expired in the current window of `unpaid_window_seconds` (0: in the whole
    sale), which bounds the idempotency keys a buyer can use.
    """

    items: Annotated[tuple[ItemSpec, ...], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    hold_seconds: Seconds = 600
    extension_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    per_buyer_limit: Limit = 1
    split_lines: bool = False
    unpaid_per_buyer: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    unpaid_window_seconds: Annotated[int, msgspec.Meta(ge=0, le=604_800)] = UNPAID_WINDOW_SECONDS
    cooldown: CooldownSpec | None = None
    waiting_room: WaitingRoomSpec | None = None

    @property
    def currency(self) -> str:
        """The currency of all prices."""
        return self.items[0].price.currency


_decoder = msgspec.json.Decoder(SaleSpec)


def parse_sale_spec(raw: bytes) -> SaleSpec:
    """The sale in the body.

    Raises SpecError for a JSON body that is not a sale this version can run, and
    msgspec.DecodeError for a body that is not JSON.
    """
    try:
        spec = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise SpecError(str(error)) from error
    _check_items(spec)
    _check_window(spec)
    _check_cooldown(spec)
    _check_supported(spec)
    return spec


def _check_items(spec: SaleSpec) -> None:
    skus = [item.sku for item in spec.items]
    if len(set(skus)) != len(skus):
        raise SpecError("items: each sku may appear once")
    if any(item.price.currency != spec.currency for item in spec.items):
        raise SpecError("items: all prices of a sale are in one currency")
    for item in spec.items:
        if (item.stock is None) == (item.locations is None):
            raise SpecError(f"item {item.sku}: give either stock or locations")
        units = item.units_by_location
        if not units:
            raise SpecError(f"item {item.sku}: locations needs at least one location")
        if len(units) > LOCATIONS_MAX:
            raise SpecError(f"item {item.sku}: at most {LOCATIONS_MAX} locations")
        if sum(units.values()) < item.floor or sum(units.values()) > UNITS_MAX:
            raise SpecError(f"item {item.sku}: stock must lie between the floor and {UNITS_MAX}")
    dearest = sum(
        item.price.amount * (item.per_buyer_limit or spec.per_buyer_limit) for item in spec.items
    )
    if dearest > TOTAL_MAX:
        raise SpecError(f"items: price times per_buyer_limit, summed, must not exceed {TOTAL_MAX}")
    if sum(len(item.units_by_location) for item in spec.items) > ACCOUNTS_MAX:
        raise SpecError(f"items: at most {ACCOUNTS_MAX} pairs of sku and location")


def _check_window(spec: SaleSpec) -> None:
    prequeue_at = None if spec.waiting_room is None else spec.waiting_room.prequeue_at
    for name, instant in (
        ("opens_at", spec.opens_at),
        ("closes_at", spec.closes_at),
        ("waiting_room.prequeue_at", prequeue_at),
    ):
        if instant is not None and instant.tzinfo is None:
            raise SpecError(f"{name}: give the time zone, e.g. 2027-03-01T09:00:00Z")
        if instant is not None and not 1970 <= instant.year < 5000:  # at most 14 digits in ms
            raise SpecError(f"{name}: the year must be from 1970 to 4999")
    if spec.opens_at and spec.closes_at and spec.closes_at <= spec.opens_at:
        raise SpecError("closes_at: must be after opens_at")
    if spec.opens_at and prequeue_at and spec.opens_at <= prequeue_at:
        raise SpecError("waiting_room.prequeue_at: must be before opens_at")


def _check_cooldown(spec: SaleSpec) -> None:
    if spec.cooldown is not None and spec.cooldown.seconds_max < spec.cooldown.seconds:
        raise SpecError("cooldown.seconds_max: must not be below seconds")


def _check_supported(spec: SaleSpec) -> None:
    if spec.partitions != 1:
        raise SpecError(
            "partitions: this version runs sales of one partition; leave it out or give 1"
        )
