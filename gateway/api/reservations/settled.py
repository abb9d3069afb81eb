"""Reservations of settled sales: Redis no longer has them, so the ledger answers."""

import msgspec

from gateway.api.contract.rendering import instant
from gateway.api.contract.schemas import LineAnswer, ReservationAnswer
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.reservations.orders import OrderRecord, fetch_records
from gateway.api.reservations.rendering import total_of
from gateway.inventory.events import Position, event_id
from gateway.inventory.keys import ReservationId


class SettledReservation(msgspec.Struct, frozen=True):
    """A reservation from the ledger; `fingerprint`: that of the request it was accepted with."""

    answer: ReservationAnswer
    fingerprint: str


class SettledReservations:
    """Reads reservations of settled sales from the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger`: the connections for reads."""
        self._ledger = ledger

    async def find(self, identifier: ReservationId) -> SettledReservation | None:
        """The reservation, or None. Raises LedgerUnavailable."""
        records = await fetch_records(self._ledger, [str(identifier)])
        if not records:
            return None
        return SettledReservation(_answer(records[0]), records[0].fingerprint)

    async def return_fingerprint(self, identifier: ReservationId, return_key: str) -> str | None:
        """The fingerprint of the return made under a key, or None. Raises LedgerUnavailable."""
        return await self._made_with("return_by_key", identifier, return_key)

    async def extension_fingerprint(self, identifier: ReservationId, extend_key: str) -> str | None:
        """The milliseconds that the extension made under a key asked for, or None. Raises
        LedgerUnavailable.
        """
        return await self._made_with("extension_by_key", identifier, extend_key)

    async def _made_with(self, query: str, identifier: ReservationId, key: str) -> str | None:
        partition = identifier.partition
        found = await self._ledger.fetchval(
            QUERIES[query], partition.sale_id, partition.number, str(identifier), key
        )
        return None if found is None else str(found)


def _answer(record: OrderRecord) -> ReservationAnswer:
    confirmed = record.state == "confirmed"
    lines = tuple(
        LineAnswer(
            line.sku,
            line.confirmed if confirmed else line.quantity,
            line.location,
            line.unit_price,
        )
        for line in record.lines
        if line.confirmed or not confirmed
    )
    accepted = Position(record.accepted_epoch, record.accepted_sequence)
    return ReservationAnswer(
        reservation_id=record.reservation_id,
        order_id=record.reservation_id,
        sale_id=record.sale_id,
        buyer_id=record.buyer_id,
        lines=lines,
        total=total_of(lines, record.currency),
        state=record.state,
        expires_at=instant(record.deadline),
        event_id=event_id(record.sale_id, record.partition, accepted),
        payment_reference=record.payment_reference,
        returned=tuple(
            LineAnswer(line.sku, line.returned, line.location, line.unit_price)
            for line in record.lines
            if line.returned
        ),
    )
