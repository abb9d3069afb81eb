"""Orders: the ledger's view of reservations, with their events.

A reservation that the ledger does not have yet is an order too (PENDING); it is found in Redis.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.api.contract.cursors import Cursor, decode_cursor, encode_cursor
from gateway.api.contract.rendering import instant
from gateway.api.contract.schemas import (
    OrderAnswer,
    OrderEventAnswer,
    OrderLineAnswer,
    ReservationAnswer,
    Total,
)
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.reservations.rendering import StateName
from gateway.inventory.events import Position, event_id

OrderStatus = Literal["PENDING", "CONFIRMED", "CANCELLED", "EXPIRED"]
STATUS_OF_STATE: Mapping[StateName, OrderStatus] = {
    "held": "PENDING",
    "confirmed": "CONFIRMED",
    "cancelled": "CANCELLED",
    "expired": "EXPIRED",
}
PAGE_ORDERS = 50


class OrderRecord(msgspec.Struct, frozen=True):
    """A row of `reservations` with its lines, in the order of the sale's accounts."""

    reservation_id: str
    sale_id: str
    partition: int
    buyer_id: str
    state: StateName
    fingerprint: str
    deadline: datetime
    payment_reference: str | None
    accepted_epoch: int
    accepted_sequence: int
    currency: str
    lines: tuple[OrderLineAnswer, ...] = ()


class OrderPage(msgspec.Struct, frozen=True):
    """One page of a buyer's orders."""

    orders: tuple[OrderAnswer, ...]
    next_cursor: str | None


class OrderBook:
    """Reads orders from the ledger; every method raises LedgerUnavailable when it is down."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger`: the connections for reads."""
        self._ledger = ledger

    async def find(self, order_id: str) -> OrderAnswer | None:
        """The order, or None when the ledger does not have it (yet)."""
        orders = await self._read([order_id])
        return orders[0] if orders else None

    async def of_buyer(self, buyer_id: str, cursor: str | None) -> OrderPage:
        """One page of orders, newest first. Raises Problem invalid for an unknown cursor."""
        after = decode_cursor(cursor) if cursor else None
        rows = await self._ledger.fetch(
            QUERIES["orders_of_buyer"],
            buyer_id,
            after and after.created_at,
            after and after.identifier,
            PAGE_ORDERS + 1,
        )
        shown = rows[:PAGE_ORDERS]
        more = None
        if len(rows) > PAGE_ORDERS:
            more = encode_cursor(Cursor(shown[-1]["created_at"], shown[-1]["reservation_id"]))
        return OrderPage(tuple(await self._read([row["reservation_id"] for row in shown])), more)

    async def _read(self, ids: Sequence[str]) -> list[OrderAnswer]:
        records = await fetch_records(self._ledger, ids)
        events: defaultdict[str, list[OrderEventAnswer]] = defaultdict(list)
        sales = {record.reservation_id: record for record in records}
        for row in await self._ledger.fetch(QUERIES["order_events_by_reservation"], list(ids)):
            record = sales.get(row["reservation_id"])
            if record is None:
                continue
            position = Position(row["epoch"], row["sequence"])
            events[row["reservation_id"]].append(
                OrderEventAnswer(
                    status=row["status"],
                    occurred_at=instant(row["occurred_at"]),
                    event_id=event_id(record.sale_id, record.partition, position),
                    detail=msgspec.json.decode(row["detail"], type=dict[str, Any]),
                )
            )
        return [_order(record, tuple(events[record.reservation_id])) for record in records]


async def fetch_records(ledger: Ledger, ids: Sequence[str]) -> list[OrderRecord]:
    """The reservations of these ids in the ledger, in the order of the ids; others are left out."""
    if not ids:
        return []
    lines: defaultdict[str, list[OrderLineAnswer]] = defaultdict(list)
    rows = await ledger.fetch(QUERIES["reservations_by_id"], list(ids))
    for line in await ledger.fetch(QUERIES["lines_by_reservation"], list(ids)):
        fields = {name: line[name] for name in OrderLineAnswer.__struct_fields__}
        lines[line["reservation_id"]].append(OrderLineAnswer(**fields))
    names = OrderRecord.__struct_fields__[:-1]
    found = {
        row["reservation_id"]: OrderRecord(
            **{name: row[name] for name in names}, lines=tuple(lines[row["reservation_id"]])
        )
        for row in rows
    }
    return [found[identifier] for identifier in ids if identifier in found]


def pending_order(reservation: ReservationAnswer) -> OrderAnswer:
    """The order of a reservation that is only in Redis so far."""
    return OrderAnswer(
        order_id=reservation.order_id,
        sale_id=reservation.sale_id,
        buyer_id=reservation.buyer_id,
        status="PENDING",
        lines=tuple(
            OrderLineAnswer(line.sku, line.location, line.quantity, 0, 0, line.unit_price)
            for line in reservation.lines
        ),
        total=reservation.total,
        expires_at=reservation.expires_at,
        payment_reference=None,
        events=(),
        in_ledger=False,
    )


def _order(record: OrderRecord, events: tuple[OrderEventAnswer, ...]) -> OrderAnswer:
    confirmed = record.state == "confirmed"
    total = sum(
        line.unit_price * (line.confirmed if confirmed else line.quantity) for line in record.lines
    )
    return OrderAnswer(
        order_id=record.reservation_id,
        sale_id=record.sale_id,
        buyer_id=record.buyer_id,
        status=STATUS_OF_STATE[record.state],
        lines=record.lines,
        total=Total(total, record.currency),
        expires_at=instant(record.deadline),
        payment_reference=record.payment_reference,
        events=events,
    )
