"""The waiting rooms of one worker: made at their first use, dropped when nobody uses them."""

import asyncio
import time
from contextlib import suppress

import asyncpg
import redis.asyncio as redis_py

from config.settings import Settings
from gateway.admission.waiting_room.checkpoints import Checkpoints
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.room import FactsOf, Room
from gateway.admission.waiting_room.store import NEVER_READ, RoomLost, RoomStore
from gateway.admission.waiting_room.ticking import Ticker
from gateway.inventory.errors import Overloaded
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore

ROOMS_MAX = 200
IDLE_SECONDS = 300.0
# At ROOMS_MAX a room may be dropped for another after this time; buyers in line poll more often.
UNWANTED_SECONDS = 60.0
SWEEP_SECONDS = 30.0


class WaitingRooms:
    """The rooms by sale. `watch` runs for as long as the worker serves."""

    def __init__(
        self,
        settings: Settings,
        pool: ScriptPool,
        reservations: ReservationStore,
        client: redis_py.Redis,
        postgres: asyncpg.Pool,
        facts_of: FactsOf,
    ) -> None:
        """`client` reads outboxes and bitmaps; `facts_of` reads a sale and raises Recovering."""
        self._settings = settings.waiting_room
        self._facts_of = facts_of
        self.store = RoomStore(pool, client)
        self.checkpoints = Checkpoints(postgres, settings.postgres.acquire_timeout_seconds)
        self._ticker = Ticker(
            self.store,
            reservations,
            client,
            self.checkpoints,
            interval_ms=self._settings.tick_milliseconds,
            stock_factor=self._settings.stock_factor,
        )
        self._rooms: dict[str, Room] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def known(self, sale_id: str) -> Room | None:
        """The room, or None when this worker does not have it."""
        return self._rooms.get(sale_id)

    def room(self, facts: RoomFacts) -> Room:
        """The sale's room; makes it at its first use. Raises Overloaded at ROOMS_MAX rooms that
        somebody wants.
        """
        room = self._rooms.get(facts.sale_id)
        if room is None:
            if len(self._rooms) >= ROOMS_MAX:
                self._drop_unwanted()
            room = self._rooms[facts.sale_id] = Room(
                facts,
                self._facts_of,
                self.store,
                self._ticker,
                self.checkpoints,
                refresh_seconds=self._settings.refresh_milliseconds / 1000,
                quick_seconds=self._settings.quick_milliseconds / 1000,
                poll_most_seconds=self._settings.poll_most_seconds,
            )
            room.start()
        room.wanted_at = time.monotonic()
        return room

    def _drop_unwanted(self) -> None:
        """Drop the room that was wanted the longest ago; the next who wants it makes it again."""
        oldest = time.monotonic() - UNWANTED_SECONDS
        unwanted = [
            room for room in self._rooms.values() if room.wanted_at <= oldest and not room.alarms
        ]
        if not unwanted:
            raise Overloaded("this worker has too many waiting rooms")
        room = min(unwanted, key=lambda each: each.wanted_at)
        del self._rooms[room.facts.sale_id]
        stopping = asyncio.create_task(room.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    async def has_buyers(self, sale_id: str) -> bool:
        """Whether anybody has ever joined the sale's room. Raises InventoryError."""
        try:
            return (await self.store.look(sale_id, NEVER_READ)).reading.issued > 0
        except RoomLost:
            record = await self.checkpoints.read(sale_id)
            return record is not None and record.issued > 0

    async def watch(self) -> None:
        """Stop rooms that nobody used for IDLE_SECONDS, until cancelled; then stop all rooms."""
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                oldest = time.monotonic() - IDLE_SECONDS
                for sale_id, room in list(self._rooms.items()):
                    if self._rooms.get(sale_id) is not room:
                        continue  # dropped for another sale meanwhile
                    if room.wanted_at < oldest and not room.alarms:
                        del self._rooms[sale_id]
                        await room.stop()
        finally:
            rooms, self._rooms = list(self._rooms.values()), {}
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*(room.stop() for room in rooms))
