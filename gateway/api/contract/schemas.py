"""Answers of the HTTP API that buyers, shops and the public get, as types.

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
    """What lines cost together, in minor units; below 2^53."""

    amount: int
    currency: str


class LineAnswer(msgspec.Struct, frozen=True):
    """Units promised at one location."""

    sku: str
    quantity: int
    location: str
    unit_price: int


class ReservationAnswer(msgspec.Struct, frozen=True):
    """A reservation as it is now. `lines`: as reserved; once confirmed, what was confirmed."""

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
    """A hold of the caller that stands in the way of another one."""

    reservation_id: str
    expires_at: Instant


class OrderLineAnswer(msgspec.Struct, frozen=True):
    """One line; its price is the one at purchase."""

    sku: str
    location: str
    quantity: int
    confirmed: int
    returned: int
    unit_price: int


class OrderEventAnswer(msgspec.Struct, frozen=True):
    """What happened to an order, by the number of the event in its partition's history."""

    status: Literal["PENDING", "CONFIRMED", "CANCELLED", "EXPIRED", "EXTENDED", "RETURNED"]
    occurred_at: Instant
    event_id: str
    detail: dict[str, Any]


class OrderAnswer(msgspec.Struct, frozen=True):
    """An order. `in_ledger` is false while only Redis knows it; it has no events until then."""

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
    """One page, newest first; `next_cursor` is null on the last."""

    orders: tuple[OrderAnswer, ...]
    next_cursor: str | None


class QueueAnswer(msgspec.Struct, frozen=True):
    """A place in line. `position` is the number in line, constant, null before a draw; `ahead` are
    those who will be let in before. Waits are null while nothing honest can be said.
    `admission_token` is there while `state` is admitted, until `admission_expires_at`.
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
    """Whether there was a place to give up."""

    left: bool


class PublicItem(msgspec.Struct, frozen=True):
    """An item as buyers see it; `availability` is coarse, so that it can be cached."""

    sku: str
    name: str
    price: Money
    per_buyer_limit: int
    paused: bool
    availability: Literal["plenty", "low", "none", "unknown"]


class PublicWaitingRoom(msgspec.Struct, frozen=True):
    """How buyers are let in; `prequeue_at`: from when they may join before the opening."""

    prequeue_at: Instant | None
    order: Literal["fifo", "draw"]


class DrawAnswer(msgspec.Struct, frozen=True):
    """The draw of a sale, for whoever wants to check it. `commitment` is SHA-256 of the seed; both
    are in hex. Seed and count are null until the draw was held; `count` is how many were in it.
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
    """A new visitor, and the sale to show; null where none was ever scheduled or opened."""

    buyer_id: str
    token: str
    expires_at: str
    sale_id: str | None
