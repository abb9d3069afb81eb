"""Who is let through to `reserve` beside what the admission says: the room itself has a word too.

An operator may have turned a buyer out, or sent all back to the queue, after the admission was
given. A worker that has never seen the room does not know, and looks before it lets anybody pass.
"""

from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.queue.places import room_facts
from gateway.api.sales.facts import SaleFacts


class QueueGate:
    """See the module; for sales that have a waiting room."""

    def __init__(self, rooms: WaitingRooms) -> None:
        """Over the worker's waiting rooms."""
        self._rooms = rooms

    def is_seen(self, sale_id: str) -> bool:
        """Whether this worker has seen the room."""
        room = self._rooms.known(sale_id)
        return room is not None and room.is_seen

    async def see(self, facts: SaleFacts) -> None:
        """Look at the room. Raises Recovering where it cannot be seen."""
        await self._rooms.room(room_facts(facts)).seen()

    def lets(self, sale_id: str, buyer_id: str) -> bool:
        """Whether admissions of this buyer are honoured; False for a room nobody has seen."""
        room = self._rooms.known(sale_id)
        return room is not None and room.honours(buyer_id)
