"""Answers of the HTTP API that buyers, shops and the public receive, as types.

Instants are RFC 3339 in UTC with milliseconds; money is in minor units. Answers for operators are
in operator_schemas.py and overview_schemas.py, the bodies of requests in requests.py.
"""

from typing import Annotated, Any, Literal

import msgspec

from gateway.inventory.specs import Money
from gateway.inventory.types import SaleState

# RFC 3339 in UTC with milliseconds.
Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Total(msgspec.Struct, frozen=True):
    """The price of all lines together, in minor units; below 2^53."""

    amount: int
    currency: str


class LineAnswer(msgspec.Struct, frozen=True):
    """Units promised at one location."""

    sku: str
    quantity: int
    location: str
    unit_price: int


class ReservationAnswer(msgspec.Struct, frozen=True):
    """A reservation in its current state. `lines`: as reserved or, later, as confirmed."""

    reservation_id: str
    order_id: str
    sale_id: str
    buyer_id: str
    lines: tuple[LineAnswer, ...]
    total: Total
    state: Literal["held", "confirmed", "cancelled", "expired"]
    expires_at: Instant
    event_id: str
    payment_reference: str | None = None
    returned: tuple[LineAnswer, ...] = ()


class OwnHold(msgspec.Struct, frozen=True):
    """A hold of the caller that stands in the way of a new hold."""

    reservation_id: str
    expires_at: Instant


class OrderLineAnswer(msgspec.Struct, frozen=True):
    """One line of an order; `unit_price` is the price at purchase."""

    sku: str
    location: str
    quantity: int
    confirmed: int
    returned: int
    unit_price: int


class OrderEventAnswer(msgspec.Struct, frozen=True):
    """One change of an order; `event_id` is the event's number in its partition's history."""

    status: Literal["PENDING", "CONFIRMED", "CANCELLED", "EXPIRED", "EXTENDED", "RETURNED"]
    occurred_at: Instant
    event_id: str
    detail: dict[str, Any]


class OrderAnswer(msgspec.Struct, frozen=True):
    """An order. `in_ledger` is false, and `events` empty, until the ledger has the order."""

    order_id: str
    sale_id: str
    buyer_id: str
    status: Literal["PENDING", "CONFIRMED", "CANCELLED", "EXPIRED"]
    lines: tuple[OrderLineAnswer, ...]
    total: Total
    expires_at: Instant
    payment_reference: str | None
    events: tuple[OrderEventAnswer, ...]
    in_ledger: bool = True


class OrdersAnswer(msgspec.Struct, frozen=True):
    """One page of orders, newest first; `next_cursor` is null on the last page."""

    orders: tuple[OrderAnswer, ...]
    next_cursor: str | None


class QueueAnswer(msgspec.Struct, frozen=True):
    """A place in line. `position`: the number in line, constant, null before a draw; `ahead`: the
    buyers who will be let in before this one. The estimated waits are null while there is no basis
    for them. `admission_token` is present while `state` is admitted, until `admission_expires_at`.
    """

    ticket: str
    state: Literal["waiting", "admitted", "sold_out", "closed"]
    position: int | None
    ahead: int | None
    estimated_wait_seconds: int | None
    estimated_wait_low_seconds: int | None
    estimated_wait_high_seconds: int | None
    poll_after_seconds: int
    likely_too_late: bool = False
    admission_token: str | None = None
    admission_expires_at: Instant | None = None


class QueueLeft(msgspec.Struct, frozen=True):
    """`left`: whether the buyer had a place to give up."""

    left: bool


class PublicItem(msgspec.Struct, frozen=True):
    """An item as buyers see it; `availability` is coarse, so that answers can be cached."""

    sku: str
    name: str
    price: Money
    per_buyer_limit: int
    paused: bool
    availability: Literal["plenty", "low", "none", "unknown"]


class PublicWaitingRoom(msgspec.Struct, frozen=True):
    """How buyers are let in; `prequeue_at`: the instant from which they may join."""

    prequeue_at: Instant | None
    order: Literal["fifo", "draw"]


class DrawAnswer(msgspec.Struct, frozen=True):
    """The draw of a sale, for anybody who wants to check it. `commitment` is SHA-256 of the seed,
    both in hex. `seed` and `count`, the number of buyers in the draw, are null until it was held.
    """

    sale_id: str
    commitment: str
    seed: str | None
    count: int | None
    drawn_at: Instant | None


class PublicSale(msgspec.Struct, frozen=True):
    """A sale as buyers see it."""

    sale_id: str
    state: SaleState
    version: int
    opens_at: Instant | None
    closes_at: Instant | None
    hold_seconds: int
    items: tuple[PublicItem, ...]
    waiting_room: PublicWaitingRoom | None


class DemoSession(msgspec.Struct, frozen=True):
    """A new visitor, and the sale to show; null when no sale was ever scheduled or opened."""

    buyer_id: str
    token: str
    expires_at: str
    sale_id: str | None
