"""Renders reservations for callers, from the scripts' replies."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, cast

from gateway.api.contract.rendering import instant_ms
from gateway.api.contract.schemas import LineAnswer, OwnHold, ReservationAnswer, Total
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.catalog import Catalog
from gateway.inventory.events import Position, event_id
from gateway.inventory.keys import PartitionId, ReservationId
from gateway.inventory.types import PlacedLines, Reservation, ReservationState

StateName = Literal["held", "confirmed", "cancelled", "expired"]
STATE_NAMES = {state.value: cast("StateName", state.name.lower()) for state in ReservationState}


@lru_cache(maxsize=4096)
def _priced(
    catalog: Catalog, lines: PlacedLines, currency: str
) -> tuple[tuple[LineAnswer, ...], Total]:
    """Lines and their total, cached: in a drop nearly all reservations have equal lines."""
    answers = line_answers(catalog, lines)
    return answers, total_of(answers, currency)


def line_answers(catalog: Catalog, lines: PlacedLines) -> tuple[LineAnswer, ...]:
    """The lines with SKU, location and unit price."""
    answers = []
    for index in range(0, len(lines), 2):
        account = catalog.account(lines[index])
        price = catalog.item(account.item).unit_price
        answers.append(LineAnswer(account.sku, lines[index + 1], account.location, price))
    return tuple(answers)


def total_of(lines: Sequence[LineAnswer], currency: str) -> Total:
    """The price of all lines together."""
    return Total(sum(line.quantity * line.unit_price for line in lines), currency)


def reservation_answer(
    facts: SaleFacts, partition: PartitionId, reservation: Reservation
) -> ReservationAnswer:
    """A reservation as its owner sees it."""
    identifier = str(ReservationId(partition, reservation.token))
    lines, total = _priced(facts.catalog, reservation.lines, facts.currency)
    accepted = Position(reservation.accepted_epoch, reservation.accepted_sequence)
    return ReservationAnswer(
        reservation_id=identifier,
        order_id=identifier,
        sale_id=facts.sale_id,
        buyer_id=reservation.buyer_id,
        lines=lines,
        total=total,
        state=STATE_NAMES[reservation.state],
        expires_at=instant_ms(reservation.deadline),
        event_id=event_id(facts.sale_id, partition.number, accepted),
        payment_reference=reservation.payment_reference or None,
        returned=_priced(facts.catalog, reservation.returned, facts.currency)[0],
    )


def own_holds(partition: PartitionId, holds: Sequence[Reservation]) -> tuple[OwnHold, ...]:
    """The caller's own holds, which stand in the way of another hold."""
    return tuple(
        OwnHold(str(ReservationId(partition, hold.token)), instant_ms(hold.deadline))
        for hold in holds
    )
