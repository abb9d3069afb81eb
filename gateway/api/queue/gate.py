"""The waiting room's own check before `reserve`, besides that of the admission token.

After an admission was given, its buyer may have left, and an operator may have removed the buyer or
sent all buyers back to the queue. A worker that has not read the room yet reads it before it lets
any buyer pass.
"""

from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.queue.places import room_facts
from gateway.api.sales.facts import SaleFacts


class QueueGate:
    """Decides whether a sale's waiting room still lets a buyer reserve."""

    def __init__(self, rooms: WaitingRooms) -> None:
        """`rooms`: the worker's waiting rooms."""
        self._rooms = rooms

    def is_seen(self, sale_id: str) -> bool:
        """Whether this worker has read the room."""
        room = self._rooms.known(sale_id)
        return room is not None and room.is_seen

    async def see(self, facts: SaleFacts) -> None:
        """Read the room. Raises Recovering when it cannot be read."""
        await self._rooms.room(room_facts(facts)).seen()

    def has_place(self, sale_id: str, place: int) -> bool:
        """Whether a place that was called is still its buyer's: not given up and not used."""
        room = self._rooms.known(sale_id)
        return room is not None and not room.is_gone(place)

    def lets(self, sale_id: str, buyer_id: str) -> bool:
        """Whether admissions of this buyer are honoured; False for a room that was never read."""
        room = self._rooms.known(sale_id)
        return room is not None and room.honours(buyer_id)
