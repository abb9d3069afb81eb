"""The called places of a room whose slots are not over: a bit for each, set where it is gone.

A look at the room brings what is new since the look before, so that its cost follows the changes.
"""

from gateway.admission.waiting_room.store import NEVER_READ, RoomReading


class CalledPlaces:
    """The places as of the last reading taken."""

    def __init__(self) -> None:
        """Before any reading: the first has to be whole."""
        self._first = 0
        self._bits = bytearray()
        self.ended = NEVER_READ
        self.serving = NEVER_READ

    def take(self, reading: RoomReading) -> None:
        """Apply a reading: whole, or what is new since the reading with this `ended`, `serving`."""
        news = bytes.fromhex(reading.window)
        if reading.whole:
            self._first, self._bits = reading.window_first, bytearray(news)
        else:
            at = (reading.window_first - self._first) // 8
            self._bits = self._bits[:at] if at < len(self._bits) else self._bits
            self._bits += bytes(max(0, at - len(self._bits))) + news
        self._bits += bytes(max(0, (reading.serving - self._first) // 8 + 1 - len(self._bits)))
        for place in reading.ended_places:
            byte, bit = divmod(place - self._first, 8)
            if 0 <= byte < len(self._bits):
                self._bits[byte] |= 0x80 >> bit
        lapsed = (reading.lapsed + 1) // 8 - self._first // 8
        if lapsed > 0:
            del self._bits[:lapsed]
            self._first += 8 * lapsed
        self.ended, self.serving = reading.ended, reading.serving

    def forget(self) -> None:
        """Ask for a whole reading with the next look."""
        self.ended = self.serving = NEVER_READ

    def is_gone(self, place: int) -> bool:
        """Whether a called place is given up or used; False for places that are not known."""
        byte, bit = divmod(place - self._first, 8)
        return 0 <= byte < len(self._bits) and bool(self._bits[byte] & (0x80 >> bit))
