"""Gauges of waiting rooms, read from Redis on request, at most once a second.

A room that cannot be read has no gauges.
"""

import asyncio
import time
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.admission.waiting_room.store import RoomReading, RoomStore
from gateway.api.ledger.connections import Ledger, LedgerUnavailable
from gateway.api.ledger.queries import QUERIES
from gateway.api.operations.gauges import FRESH_SECONDS, SALES_MAX
from gateway.inventory.errors import InventoryError

_GAUGES = (
    ("dropgate_queue_waiting", "Buyers waiting"),
    ("dropgate_queue_admitted", "Buyers with a live admission"),
    ("dropgate_queue_serving", "The last place called"),
    ("dropgate_queue_outflow", "Buyers let in per second, average of the last seconds"),
)


class QueueReading(Collector):
    """The gauges of all rooms at one moment."""

    def __init__(self, rooms: dict[str, RoomReading]) -> None:
        """`rooms`: the reading of each sale's room."""
        self._rooms = rooms

    def collect(self) -> Iterable[Metric]:
        """The metrics for Prometheus."""
        families = [GaugeMetricFamily(name, text, labels=["sale"]) for name, text in _GAUGES]
        for sale_id, room in self._rooms.items():
            waiting = max(0, room.issued - room.serving - sum(room.blocks.counts))
            values = (waiting, room.active, room.serving, room.outflow / 1000)
            for family, value in zip(families, values, strict=True):
                family.add_metric([sale_id], value)
        return families


class QueueGauges:
    """Reads the rooms' gauges; keeps the last reading for a second."""

    def __init__(self, ledger: Ledger, rooms: RoomStore) -> None:
        """`ledger` lists the sales with a room, `rooms` reads the rooms."""
        self._ledger = ledger
        self._rooms = rooms
        self._reading = QueueReading({})
        self._read_at = -FRESH_SECONDS
        self._lock = asyncio.Lock()

    async def read(self) -> QueueReading:
        """The last reading if it is at most FRESH_SECONDS old, else a new reading."""
        async with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._reading = QueueReading(await self._read())
                self._read_at = time.monotonic()
            return self._reading

    async def _read(self) -> dict[str, RoomReading]:
        try:
            rows = await self._ledger.fetch(QUERIES["running_rooms"], SALES_MAX)
        except LedgerUnavailable:
            return {}
        found = {}
        for row in rows:
            try:
                found[row["sale_id"]] = (await self._rooms.look(row["sale_id"], -1)).reading
            except InventoryError:
                continue
        return found
