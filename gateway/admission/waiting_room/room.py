"""One sale's waiting room in one worker: read a few times a second, ticked when no other worker
did.

Polls are answered from `view` and never wait. The first worker that finds the room lost in Redis
opens it again from the ledger's checkpoint.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from gateway.admission.waiting_room.called import CalledPlaces
from gateway.admission.waiting_room.checkpoints import Checkpoints, RoomRecord
from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.drawing import hold_draw
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.joins import JoinBatcher
from gateway.admission.waiting_room.keys import BuyerDigest, buyer_digest
from gateway.admission.waiting_room.store import (
    NEVER_READ,
    NOT_DRAWN,
    JoinRequest,
    Moved,
    Opening,
    RoomLost,
    RoomReading,
    RoomStore,
)
from gateway.admission.waiting_room.ticking import Ticker, highest_rate
from gateway.admission.waiting_room.view import Ended, RoomView
from gateway.inventory.errors import InventoryError, Recovering
from gateway.inventory.types import SaleState

FIRST_LOOK_SECONDS = 2.0
# An older view is not used to answer.
STALE_SECONDS = 5.0
# Workers of another release may not note which places ended, so all are read again now and then.
WHOLE_LOOK_SECONDS = 60.0
# After a loss nobody is called until the buyers in front had time to show their tickets again.
HOLD_SECONDS = 20
LEAVE_TRIES = 3
FIRST_RATE_SHARE = 10

_log = structlog.get_logger()
FactsOf = Callable[[str], Awaitable[RoomFacts]]


class Room:
    """A room of this worker. Call `start` first, `stop` once at the end."""

    def __init__(
        self,
        facts: RoomFacts,
        facts_of: FactsOf,
        store: RoomStore,
        ticker: Ticker,
        checkpoints: Checkpoints,
        *,
        refresh_seconds: float,
        quick_seconds: float,
        poll_most_seconds: int,
    ) -> None:
        """`quick_seconds`: the longest that a read and the worker's lateness may take together for
        the rate to rise.
        """
        self.facts = facts
        self.wanted_at = time.monotonic()
        self.looks = 0
        self.alarms: dict[asyncio.Event, int | None] = {}
        self._facts_of = facts_of
        self._store = store
        self._ticker = ticker
        self._checkpoints = checkpoints
        self._refresh_seconds = refresh_seconds
        self._quick_seconds = quick_seconds
        self._poll_most_seconds = poll_most_seconds
        self._joins = JoinBatcher(store, facts.sale_id)
        self._view: RoomView | None = None
        self._called = CalledPlaces()
        self._whole_at = 0.0
        self._seen_at = 0.0
        self._revoked: frozenset[bytes] = frozenset()
        self._revision = NEVER_READ
        self._record: RoomRecord | None = None
        self._draw: Draw | None = None
        self._shown_again: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen = asyncio.Event()

    def start(self) -> None:
        """Begin to read the room in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the reading in the background."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def view(self) -> RoomView:
        """The last view. Raises Recovering when there is no view, or only a stale view."""
        if self._view is None or time.monotonic() - self._seen_at > STALE_SECONDS:
            raise Recovering("the waiting room has not been read lately")
        return self._view

    @property
    def now_ms(self) -> int:
        """The time on Redis' clock (ms), as estimated from the last view."""
        if self._view is None:
            return round(time.time() * 1000)
        return self._view.reading.now + round((time.monotonic() - self._seen_at) * 1000)

    def touch(self) -> None:
        """Note that the room is still in use."""
        self.wanted_at = time.monotonic()

    async def seen(self) -> RoomView:
        """The last view; waits for the first. Raises Recovering."""
        self.touch()
        if self._view is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_SECONDS):
                    await self._seen.wait()
        return self.view

    @contextmanager
    def alarm(self, place: int | None) -> Iterator[asyncio.Event]:
        """An event, set when the place is called or something changes for all buyers."""
        event = asyncio.Event()
        self.alarms[event] = place
        try:
            yield event
        finally:
            del self.alarms[event]

    @property
    def revoked_buyers(self) -> int:
        """The number of buyers whom operators have removed."""
        return len(self._revoked)

    @property
    def is_seen(self) -> bool:
        """Whether this worker has ever read the room."""
        return self._view is not None

    def honours(self, buyer_id: str) -> bool:
        """Whether admissions of the buyer count, by the last view."""
        self.touch()
        if self._view is None or self._view.reading.mode == "queue_all":
            return False
        return not self.is_revoked(buyer_id)

    def is_gone(self, place: int) -> bool:
        """Whether a place that was called is given up or used, by the last view."""
        return self._view is not None and self._view.is_gone(place)

    def is_revoked(self, buyer_id: str) -> bool:
        """Whether an operator has removed the buyer, by the last view."""
        return bool(self._revoked) and self.digest(buyer_id).field in self._revoked

    def digest(self, buyer_id: str) -> BuyerDigest:
        """The digest that stands for the buyer in the room."""
        return buyer_digest(self.facts.hash_key, buyer_id)

    def must_show(self, number: int) -> bool:
        """Whether a number is from before a loss and was not shown to this worker since."""
        return number <= self.view.reading.lost and number not in self._shown_again

    async def join(self, buyer_id: str, number: int = 0) -> int:
        """The buyer's number: the existing number, or a new one. `number`: that of a ticket shown.

        A number whose place has ended is exchanged for a number at the end. Raises InventoryError.
        """
        digest = self.digest(buyer_id)
        found = await self._ask(JoinRequest(digest, number, self._place(number)))
        place = self.view.place_of(found)
        if place is not None and self.view.has_ended(place, self.now_ms):
            found = await self._ask(JoinRequest(digest, found, place, renew=True))
        elif found != number and self.must_show(found):
            await self._ask(JoinRequest(digest, found, self._place(found)))
        self._shown_again.add(found)
        return found

    async def show_again(self, buyer_id: str, number: int) -> None:
        """Claim a number from before a loss. Raises Ended when the buyer has another number now."""
        request = JoinRequest(self.digest(buyer_id), number, self._place(number))
        if await self._ask(request) != number:
            raise Ended
        self._shown_again.add(number)

    async def leave(self, buyer_id: str, verb: str = "leave") -> str:
        """Give up the buyer's place; see RoomStore.leave. Raises InventoryError."""
        digest = self.digest(buyer_id)
        for _ in range(LEAVE_TRIES):
            view = self.view
            number = await self._store.find(self.facts.sale_id, digest)
            place = self._place(number)
            drawn = view.reading.drawn
            try:
                outcome = await self._store.leave(
                    self.facts.sale_id, drawn, digest, number, place, verb
                )
            except Moved:
                await self.look()
                continue
            await self.look()
            return outcome
        raise Recovering("the draw is being held")

    async def control(self, verb: str, rate: int = 0) -> None:
        """Apply an operator's change in Redis and in the ledger, so that it outlives Redis."""
        mode, limit = await self._store.control(self.facts.sale_id, verb, rate)
        await self._checkpoints.note_control(self.facts.sale_id, mode, limit)
        await self.look()

    async def revoke(self, buyer_id: str) -> str:
        """Remove a buyer for good. Raises InventoryError."""
        await self._checkpoints.note_revoked(self.facts.sale_id, buyer_id)
        return await self.leave(buyer_id, "revoke")

    async def record(self) -> RoomRecord:
        """The room's row in the ledger. Raises Recovering."""
        if self._record is None or self._record.drawn is None:
            self._record = await self._checkpoints.read(self.facts.sale_id)
        if self._record is None:
            raise Recovering("the waiting room is not made yet")
        return self._record

    async def look(self) -> None:
        """Read the room now and replace the view. Raises InventoryError."""
        if time.monotonic() - self._whole_at > WHOLE_LOOK_SECONDS:
            self._called.forget()
        look = await self._store.look(
            self.facts.sale_id, self._revision, self._called.ended, self._called.serving
        )
        reading = look.reading
        if reading.whole:
            self._whole_at = time.monotonic()
        self._called.take(reading)
        self.looks += 1
        if look.revoked is not None:
            self._revoked = frozenset(bytes.fromhex(digest) for digest in look.revoked)
        if self._view is not None and self._view.reading.lost != reading.lost:
            self._shown_again.clear()
        self._revision = reading.revision
        if self.facts.draws and reading.drawn > 0 and self._draw is None and reading.placed:
            self._draw = Draw((await self.record()).seed, reading.drawn)
        before = self._view
        self._view = RoomView(
            self.facts, reading, self._draw, self._poll_most_seconds, self._called
        )
        self._seen_at = time.monotonic()
        self._seen.set()
        self._ring(self._view, all_told=before is None or before.told != self._view.told)

    def _ring(self, view: RoomView, *, all_told: bool) -> None:
        for event, place in self.alarms.items():
            if all_told or (place is not None and place <= view.reading.serving):
                event.set()

    def _place(self, number: int) -> int:
        """The place of a number; before a draw the number itself; 0 for 0."""
        return self.view.place_of(number) or number if number else 0

    async def _ask(self, request: JoinRequest) -> int:
        for _ in range(LEAVE_TRIES):
            try:
                number = await self._joins.join(self.view.reading.drawn, request)
            except Moved:
                await self.look()
                place = self._place(request.number)
                request = JoinRequest(request.digest, request.number, place, request.renew)
                continue
            if number == 0:
                raise Recovering("the ledger must catch up before more buyers can join")
            return number
        raise Recovering("the draw is being held")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        while True:
            late_seconds = loop.time() - due_at
            began = loop.time()
            try:
                self.facts = await self._facts_of(self.facts.sale_id)
                if self.facts.state is SaleState.SETTLED:
                    return  # the room's keys are gone, and nobody waits
                await self._look_and_tick(late_seconds)
            except RoomLost as error:
                _log.info("waiting_room_not_there", sale=self.facts.sale_id, reason=str(error))
                await self._reopen()
            except InventoryError as error:
                _log.warning("waiting_room_unseen", sale=self.facts.sale_id, reason=str(error))
            except Exception:  # noqa: BLE001 - logged; the room goes on, views go stale, not wrong
                _log.exception("waiting_room_failed", sale=self.facts.sale_id)
            due_at = max(began + self._refresh_seconds, loop.time())
            await asyncio.sleep(due_at - loop.time())

    async def _look_and_tick(self, late_seconds: float) -> None:
        began = time.monotonic()
        await self.look()
        quick = late_seconds + time.monotonic() - began <= self._quick_seconds
        view = self.view
        if not self._ticker.is_due(view.reading):
            return
        if await self._order_differs(view.reading):
            await self._store.set_order(self.facts.sale_id, draws=self.facts.draws)
            await self.look()
            view = self.view
        if self._draw_is_due(view.reading):
            record = await self.record()
            await hold_draw(self._store, self._checkpoints, self.facts.sale_id, record.seed)
            await self.look()
        if await self._ticker.tick(self.facts, self.view.reading, quick=quick):
            await self.look()
            await self._ticker.checkpoint(self.facts, self.view.reading)

    async def _order_differs(self, reading: RoomReading) -> bool:
        """Whether Redis has the order that the sale had before a PUT changed it."""
        if not self.facts.draws:
            return reading.drawn == NOT_DRAWN
        # 0 is also the count of a draw that was held before anybody had joined.
        return reading.drawn == 0 and bool(reading.placed) and (await self.record()).drawn is None

    def _draw_is_due(self, reading: RoomReading) -> bool:
        if not self.facts.draws or not self.facts.opened:
            return False
        return reading.drawn == NOT_DRAWN or not reading.placed

    async def _reopen(self) -> None:
        try:
            self._record = await self._checkpoints.opening(self.facts.sale_id, self._open_in_redis)
            await self.look()
        except InventoryError as error:
            _log.warning("waiting_room_not_opened", sale=self.facts.sale_id, reason=str(error))

    async def _open_in_redis(self, record: RoomRecord, revoked: list[str]) -> None:
        facts = self.facts
        drawn = (record.drawn if record.drawn is not None else NOT_DRAWN) if facts.draws else 0
        outcome = await self._store.open(
            facts.sale_id,
            Opening(
                issued=record.issued,
                serving=record.serving,
                lapsed=record.lapsed,
                hold_ms=1000 * HOLD_SECONDS,
                admission_ms=facts.admission_ms,
                rate=highest_rate(facts) // FIRST_RATE_SHARE,
                rate_limit=record.rate_limit,
                drawn=drawn,
                mode=record.mode,
                existed=record.made,
                whole=self._store.keeps_every_answer,
            ),
        )
        _log.info("waiting_room_opened", sale=facts.sale_id, outcome=outcome)
        if outcome == "resumed":
            for buyer_id in revoked:
                digest = self.digest(buyer_id)
                await self._store.leave(facts.sale_id, drawn, digest, 0, 0, "revoke")
