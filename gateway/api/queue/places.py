"""Queue calls of buyers: join, look, leave. Looking is answered from memory alone."""

from datetime import datetime

from gateway.admission.passes import InvalidPass, Passes, passes_of
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.room import Room
from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.admission.waiting_room.view import Ended, QueueState, Standing
from gateway.api.contract.problems import Problem
from gateway.api.contract.rendering import instant_ms
from gateway.api.contract.schemas import QueueAnswer
from gateway.api.ledger.connections import LedgerUnavailable
from gateway.api.sales.directory import SaleDirectory, UnknownSale
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem
from gateway.inventory.errors import Recovering
from gateway.inventory.types import SaleState


def room_facts(facts: SaleFacts) -> RoomFacts:
    """What the waiting room needs to know of a sale. Raises Problem for a sale without a room."""
    spec = facts.spec.waiting_room
    if spec is None:
        raise Problem("invalid_state", "The sale has no waiting room: reserve directly.")
    return RoomFacts(
        sale_id=facts.sale_id,
        hash_key=facts.hash_key,
        state=facts.state,
        opened=facts.opened,
        partitions=facts.partition_ids,
        floors={item.sku: item.floor for item in facts.catalog.items},
        units={
            item.sku: sum(facts.catalog.account(number).units for number in item.accounts)
            for item in facts.catalog.items
        },
        max_active_buyers=spec.max_active_buyers,
        admission_ms=1000 * spec.admission_seconds,
        opens_at_ms=_milliseconds(facts.spec.opens_at),
        prequeue_at_ms=_milliseconds(spec.prequeue_at),
        draws=spec.order == "draw",
    )


class RoomFactsReader:
    """Reads a sale's facts for its waiting room."""

    def __init__(self, directory: SaleDirectory) -> None:
        """`directory`: the cached facts of sales."""
        self._directory = directory

    async def __call__(self, sale_id: str) -> RoomFacts:
        """The facts of the sale. Raises Recovering when they cannot be read."""
        try:
            return room_facts(await self._directory.get(sale_id))
        except (UnknownSale, LedgerUnavailable, Problem) as error:
            raise Recovering(f"the sale cannot be read: {error}") from error


class Queue:
    """Answers the queue calls of buyers. Every method raises Problem or InventoryError."""

    def __init__(self, directory: SaleDirectory, rooms: WaitingRooms) -> None:
        """`directory` has the sales' facts, `rooms` the worker's waiting rooms."""
        self._directory = directory
        self._rooms = rooms

    async def room_of(self, sale_id: str) -> Room:
        """The sale's room, read at least once."""
        room = self._rooms.known(sale_id)
        if room is None:
            facts = await facts_or_problem(self._directory, sale_id)
            room = self._rooms.room(_running(facts))
        elif room.facts.state is SaleState.SETTLED:
            raise _settled()
        await room.seen()
        return room

    async def join(self, sale_id: str, buyer_id: str, ticket: str | None) -> QueueAnswer:
        """The buyer's place: the existing place, or a new place at the end."""
        room = await self.room_of(sale_id)
        if room.facts.is_over:
            raise Problem("sale_not_open", "The sale is over.", state=str(room.facts.state))
        if not room.facts.takes_joins(room.now_ms):
            state = str(room.facts.state)
            raise Problem("sale_not_open", "The waiting room is not open yet.", state=state)
        self._check_revoked(room, buyer_id)
        passes = _passes(room)
        shown = 0
        if ticket:
            try:
                shown = passes.number_of(ticket, buyer_id)
            except InvalidPass as error:
                raise _not_admitted(f"{error}.", "ticket") from error
        return self._answer(room, buyer_id, await room.join(buyer_id, shown))

    async def look(self, sale_id: str, buyer_id: str, ticket: str | None) -> QueueAnswer:
        """The state of a ticket's place."""
        room = await self.room_of(sale_id)
        number = self.number_of(room, buyer_id, ticket)
        return await self.standing(room, buyer_id, number)

    def number_of(self, room: Room, buyer_id: str, ticket: str | None) -> int:
        """The number on a ticket. Raises Problem invalid or not_admitted."""
        if not ticket:
            raise Problem("invalid", "Queue-Ticket: send the ticket; joining again returns it.")
        try:
            return _passes(room).number_of(ticket, buyer_id)
        except InvalidPass as error:
            raise _not_admitted(f"{error}.", "ticket") from error

    async def standing(self, room: Room, buyer_id: str, number: int) -> QueueAnswer:
        """The state of a number's place. Raises Problem not_admitted when it has ended."""
        self._check_revoked(room, buyer_id)
        if room.must_show(number):
            try:
                await room.show_again(buyer_id, number)
            except Ended as error:
                raise _ended() from error
        return self._answer(room, buyer_id, number)

    async def leave(self, sale_id: str, buyer_id: str) -> bool:
        """Give up the buyer's place; False when the buyer has none."""
        room = await self.room_of(sale_id)
        return await room.leave(buyer_id) == "left"

    def _check_revoked(self, room: Room, buyer_id: str) -> None:
        if room.is_revoked(buyer_id):
            raise _not_admitted("An operator has removed this buyer.", "revoked")

    def _answer(self, room: Room, buyer_id: str, number: int) -> QueueAnswer:
        try:
            standing = room.view.standing(number, room.now_ms)
        except Ended as error:
            raise _ended() from error
        return _shown(_passes(room), buyer_id, number, standing)


def _running(facts: SaleFacts) -> RoomFacts:
    of_room = room_facts(facts)
    if facts.state is SaleState.SETTLED:
        raise _settled()
    return of_room


def _settled() -> Problem:
    return Problem(
        "invalid_state",
        "The sale is settled: its waiting room is gone.",
        state=str(SaleState.SETTLED),
    )


def _shown(passes: Passes, buyer_id: str, number: int, standing: Standing) -> QueueAnswer:
    likely, low, high = standing.wait_seconds or (None, None, None)
    token = ends = None
    if standing.state is QueueState.ADMITTED and standing.position is not None:
        token = passes.admission(buyer_id, standing.position, standing.expires_at_ms)
        ends = instant_ms(standing.expires_at_ms)
    return QueueAnswer(
        ticket=passes.ticket(buyer_id, number),
        state=standing.state.value,
        position=standing.position,
        ahead=standing.ahead,
        estimated_wait_seconds=likely,
        estimated_wait_low_seconds=low,
        estimated_wait_high_seconds=high,
        poll_after_seconds=standing.poll_after_seconds,
        likely_too_late=standing.likely_too_late,
        admission_token=token,
        admission_expires_at=ends,
    )


def _passes(room: Room) -> Passes:
    return passes_of(room.facts.hash_key, room.facts.sale_id)


def _not_admitted(detail: str, reason: str) -> Problem:
    return Problem("not_admitted", detail, reason=reason)


def _ended() -> Problem:
    return _not_admitted(
        "This place has ended: its slot is over, or it was used or given up. Join again.", "ended"
    )


def _milliseconds(instant: datetime | None) -> int:
    return 0 if instant is None else round(instant.timestamp() * 1000)
