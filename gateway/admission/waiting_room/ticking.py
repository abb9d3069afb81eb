"""A tick: sends the stock left, the places used and the current load to one script."""

import asyncio

import msgspec
import redis.asyncio as redis_py

from gateway.admission.waiting_room.checkpoints import Checkpoints
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.outboxes import cursors_of, flat_cursors, read_used_places
from gateway.admission.waiting_room.store import RoomReading, RoomStore, TickRequest
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import SaleState, Snapshot

# The rate lies between one buyer a second and a rate that fills the whole room in one second.
RISE_SECONDS = 20


class Stock(msgspec.Struct, frozen=True):
    """Units that a buyer could have now, and held units, which may come back."""

    available: int
    returnable: int


class Ticker:
    """Makes the ticks of every room; all workers may call it at once."""

    def __init__(
        self,
        rooms: RoomStore,
        reservations: ReservationStore,
        client: redis_py.Redis,
        checkpoints: Checkpoints,
        *,
        interval_ms: int,
        stock_factor: float,
    ) -> None:
        """`stock_factor`: live admissions per unit that is left or may return."""
        self._rooms = rooms
        self._reservations = reservations
        self._client = client
        self._checkpoints = checkpoints
        self._interval_ms = interval_ms
        self._stock_factor = stock_factor

    def is_due(self, reading: RoomReading) -> bool:
        """Whether no worker has ticked the room for an interval."""
        return reading.now - reading.ticked_at >= self._interval_ms

    async def tick(self, facts: RoomFacts, reading: RoomReading, *, quick: bool) -> bool:
        """Tick the room, if a tick is still due; True when a checkpoint is due.

        Raises InventoryError: while the stock or Redis cannot be read, nobody is called.
        """
        stock = await self._stock(facts)
        used = await read_used_places(
            self._client,
            facts.partitions if facts.opened else (),
            cursors_of(reading.cursors),
        )
        served_by_stock = int(self._stock_factor * (stock.available + stock.returnable))
        highest = highest_rate(facts)
        request = TickRequest(
            interval_ms=self._interval_ms,
            admission_ms=facts.admission_ms,
            most_active=min(facts.max_active_buyers, served_by_stock),
            may_call=facts.state is SaleState.OPEN,
            quick=quick,
            highest_rate=highest,
            rate_step=highest // RISE_SECONDS,
            stock=stock.available,
            returnable=stock.returnable,
            used_places=used.places,
            cursors=flat_cursors(used.cursors),
        )
        _, checkpoint_due = await self._rooms.tick(facts.sale_id, request)
        return checkpoint_due

    async def checkpoint(self, facts: RoomFacts, reading: RoomReading) -> None:
        """Write the room's progress to the ledger, then note in the room what the ledger has."""
        await self._checkpoints.write(
            facts.sale_id, reading.issued, reading.serving, reading.lapsed
        )
        await self._rooms.note_checkpoint(facts.sale_id, reading.issued)

    async def _stock(self, facts: RoomFacts) -> Stock:
        if not facts.opened:
            left = sum(max(0, facts.units[sku] - facts.floors[sku]) for sku in facts.units)
            return Stock(left, 0)
        if facts.state is SaleState.SETTLED:
            return Stock(0, 0)
        snapshots = await asyncio.gather(
            *(self._reservations.snapshot(partition) for partition in facts.partitions)
        )
        return stock_of(facts, snapshots)


def stock_of(facts: RoomFacts, snapshots: list[Snapshot]) -> Stock:
    """The stock over all items: units above their floors, and units on hold."""
    available: dict[str, int] = {}
    held = 0
    for snapshot in snapshots:
        for account in snapshot.accounts:
            available[account.sku] = available.get(account.sku, 0) + account.available
            held += account.held
    left = sum(max(0, units - facts.floors.get(sku, 0)) for sku, units in available.items())
    return Stock(left, held)


def highest_rate(facts: RoomFacts) -> int:
    """The highest rate of calling, in thousandths of a buyer per second."""
    return facts.max_active_buyers * 1000
