"""A room's state in a worker's memory; every poll is answered from it, without asking Redis."""

import random
from enum import StrEnum

import msgspec

from gateway.admission.waiting_room.called import CalledPlaces
from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.store import NOT_DRAWN, RoomReading

POLL_LEAST_SECONDS = 2
# A buyer polls after a quarter of the least estimated wait. After a loss of data the room calls
# nobody for longer than the buyers in front pause, so that they can show their tickets first.
POLL_SHARE_OF_WAIT = 4
# Below this outflow, in thousandths of a buyer per second, no wait is estimated.
OUTFLOW_LEAST = 20
# The factor by which an estimated range is widened on both sides, at least.
SPREAD = 1.25
RANGE_MOST = 4


class QueueState(StrEnum):
    """The state of a buyer in line."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"


class Ended(Exception):
    """The place's slot is over, or it was used, given up or taken away."""


class Standing(msgspec.Struct, frozen=True):
    """The state of one buyer. `position`: the place in line, None before a draw; `wait_seconds`
    (likely, least, most) is None while there is no estimate; `expires_at_ms`: the end of an
    admitted buyer's slot.
    """

    state: QueueState
    position: int | None
    ahead: int | None
    wait_seconds: tuple[int, int, int] | None
    poll_after_seconds: int
    likely_too_late: bool = False
    expires_at_ms: int = 0


class RoomView:
    """One reading of a room; immutable, except that `called` follows later readings."""

    def __init__(
        self,
        facts: RoomFacts,
        reading: RoomReading,
        draw: Draw | None,
        poll_most_seconds: int,
        called: CalledPlaces,
    ) -> None:
        """`draw`: None until it was held; `called` has taken the reading."""
        self.facts = facts
        self.reading = reading
        self._draw = draw
        self._poll_most_seconds = poll_most_seconds
        self._called = called
        self._gone_before = [0]
        for counted in reading.blocks.counts:
            self._gone_before.append(self._gone_before[-1] + counted)

    @property
    def sold_out(self) -> bool:
        """Whether no unit is left and none can come back."""
        return bool(self.reading.opened) and self.reading.stock + self.reading.returnable <= 0

    @property
    def told(self) -> tuple[object, ...]:
        """The values that matter to all buyers: a change wakes every event stream."""
        reading = self.reading
        return (
            reading.mode, reading.opened, reading.drawn, reading.placed, reading.lost,
            self.sold_out, self.facts.is_over,
        )  # fmt: skip

    @property
    def waiting(self) -> int:
        """The number of buyers waiting."""
        reading = self.reading
        return max(0, reading.issued - reading.serving - self._gone_before[-1])

    def place_of(self, number: int) -> int | None:
        """The place in line of a number; None before the draw."""
        if self.facts.draws:
            if self.reading.drawn == NOT_DRAWN or not self.reading.placed:
                return None
            if self._draw is not None and number <= self._draw.count:
                return self._draw.place_of(number)
        return number

    def has_ended(self, place: int, now_ms: int) -> bool:
        """Whether a place was called and its slot is over."""
        reading = self.reading
        if place > reading.serving:
            return False
        if place <= reading.lapsed or self.is_gone(place):
            return True
        return self._end_of(place) <= now_ms and reading.mode != "queue_all"

    def standing(self, number: int, now_ms: int) -> Standing:
        """The state of the buyer with this number. Raises Ended."""
        facts, reading = self.facts, self.reading
        place = self.place_of(number)
        if facts.is_over:
            return Standing(QueueState.CLOSED, place, None, None, self._poll_most_seconds)
        if self.sold_out:
            return Standing(QueueState.SOLD_OUT, place, None, None, self._poll_most_seconds)
        if place is None:
            return Standing(QueueState.WAITING, None, None, None, self._poll_before(now_ms))
        if self.has_ended(place, now_ms):
            raise Ended
        if place <= reading.serving and reading.mode != "queue_all":
            end = self._end_of(place)
            left = max(POLL_LEAST_SECONDS, (end - now_ms) // 2000)
            poll = min(left, self._poll_most_seconds)
            return Standing(QueueState.ADMITTED, place, 0, (0, 0, 0), poll, expires_at_ms=end)
        ahead = self.ahead_of(place)
        wait = self._wait(ahead) if reading.opened else None
        too_late = bool(reading.opened) and ahead + reading.active >= (
            reading.stock + reading.returnable
        )
        poll = self._poll_after(ahead, wait) if reading.opened else self._poll_before(now_ms)
        return Standing(QueueState.WAITING, place, ahead, wait, poll, too_late)

    def ahead_of(self, place: int) -> int:
        """The number of buyers who will be called before this place. Whole blocks are counted
        exactly; within the place's own block gone places count as spread evenly.
        """
        blocks, reading = self.reading.blocks, self.reading
        whole = min(max(0, (place - blocks.first) // blocks.size), len(blocks.counts))
        gone = self._gone_before[whole]
        if whole < len(blocks.counts) and place > blocks.first:
            begins = blocks.first + whole * blocks.size
            span = max(1, min(blocks.size, reading.issued - begins + 1))
            gone += blocks.counts[whole] * (place - begins) // span
        return max(0, place - reading.serving - 1 - gone)

    def _end_of(self, place: int) -> int:
        for wave in self.reading.waves:
            if place <= wave.up_to:
                return wave.expires_at
        return 0

    def is_gone(self, place: int) -> bool:
        """Whether a place that was called, and whose slot is not over, is given up or used."""
        if place > self.reading.serving:
            return False  # called since this reading: the place was claimed after all
        return self._called.is_gone(place)

    def _wait(self, ahead: int) -> tuple[int, int, int] | None:
        """Likely, least and most seconds, from the outflows of the last seconds and minute."""
        quick = max(self.reading.outflow, self.reading.outflow_slow)
        slow = max(min(self.reading.outflow, self.reading.outflow_slow), quick / RANGE_MOST)
        if quick < OUTFLOW_LEAST:
            return None
        low, high = 1000 * ahead / quick / SPREAD, 1000 * ahead / slow * SPREAD
        return round(2000 * ahead / (quick + slow)), int(low), -int(-high // 1)

    def _poll_after(self, ahead: int, wait: tuple[int, int, int] | None) -> int:
        if wait is None:
            near = ahead < self.facts.max_active_buyers
            return self._spread(POLL_LEAST_SECONDS if near else 4 * POLL_LEAST_SECONDS)
        return self._spread(wait[1] / POLL_SHARE_OF_WAIT)

    def _poll_before(self, now_ms: int) -> int:
        """The pause before the next poll, before the opening: shorter the nearer it is."""
        left = (self.facts.opens_at_ms - now_ms) / 1000
        return self._spread(left / POLL_SHARE_OF_WAIT if left > 0 else POLL_LEAST_SECONDS)

    def _spread(self, seconds: float) -> int:
        """The seconds within bounds, shortened at random so that polls do not come in step."""
        bounded = min(max(seconds, POLL_LEAST_SECONDS), self._poll_most_seconds)
        chosen = bounded * random.uniform(0.75, 1.0)  # noqa: S311 - spread, no secret
        return max(POLL_LEAST_SECONDS, round(chosen))
