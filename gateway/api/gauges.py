"""Gauges read when they are asked for, at most once a second: partitions in Redis, the ledger.

A part that does not answer leaves its gauges out and says so in `dropgate_gauges_up`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from gateway.api.ledger import LedgerUnavailable
from gateway.api.sales import SQL
from gateway.inventory.errors import InventoryError
from gateway.inventory.keys import PartitionId, outbox_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg
    import redis.asyncio as redis_py
    from prometheus_client.core import Metric

    from gateway.api.ledger import Ledger
    from gateway.inventory.store import ReservationStore
    from gateway.inventory.types import Snapshot

FRESH_SECONDS = 1.0
SALES_MAX = 100


class _OccurredAt(msgspec.Struct, frozen=True):
    occurred_at: int


class PartitionGauges(msgspec.Struct, frozen=True):
    """Figures of one partition; `lag_seconds` is the age of the first event the ledger lacks."""

    partition: PartitionId
    outbox_length: int
    due_holds: int
    lag_events: int
    lag_seconds: float


class Reading(Collector):
    """All gauges as they were at one moment."""

    def __init__(
        self,
        partitions: list[PartitionGauges],
        drift: dict[str, int],
        up: dict[str, bool],
    ) -> None:
        """`drift`: differences each sale's last comparison left; `up`: parts that spoke."""
        self._partitions = partitions
        self._drift = drift
        self._up = up

    def collect(self) -> Iterable[Metric]:
        """Prometheus."""
        families = []
        for name, text in (
            ("outbox_length", "Events in the outbox"),
            ("due_holds", "Holds past their deadline that nobody has expired yet"),
            ("lag_events", "Events the ledger has not applied"),
            ("lag_seconds", "Age of the first event the ledger has not applied"),
        ):
            shown = f"ledger_{name}" if name.startswith("lag") else name
            family = GaugeMetricFamily(f"dropgate_{shown}", text, labels=["sale", "partition"])
            for gauges in self._partitions:
                labels = [gauges.partition.sale_id, str(gauges.partition.number)]
                family.add_metric(labels, getattr(gauges, name))
            families.append(family)
        drift = GaugeMetricFamily(
            "dropgate_drift", "Differences found by the last reconciliation", labels=["sale"]
        )
        for sale_id, count in self._drift.items():
            drift.add_metric([sale_id], count)
        up = GaugeMetricFamily("dropgate_gauges_up", "Parts that answered", labels=["part"])
        for part, answered in self._up.items():
            up.add_metric([part], float(answered))
        return (*families, drift, up)


class Gauges:
    """Makes readings; keeps the last one for a second."""

    def __init__(self, ledger: Ledger, store: ReservationStore, client: redis_py.Redis) -> None:
        """`client` reads outboxes."""
        self._ledger = ledger
        self._store = store
        self._client = client
        self._reading: Reading | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> Reading:
        """The last reading if it is fresh, else a new one."""
        async with self._lock:
            if self._reading is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._reading = await self._read()
                self._read_at = time.monotonic()
            return self._reading

    async def _read(self) -> Reading:
        try:
            sales = await self._ledger.fetch(SQL["running_sales"], SALES_MAX)
            ids = [row["sale_id"] for row in sales]
            places = await self._ledger.fetch(SQL["ledger_lag"], ids)
            drifted = await self._ledger.fetch(SQL["drift"], ids)
        except LedgerUnavailable:
            return Reading([], {}, {"postgres": False})
        drift = {row["sale_id"]: row["differences"] for row in drifted}
        partitions: list[PartitionGauges] = []
        redis_up = True
        for place in places:
            partition = PartitionId(place["sale_id"], place["partition"])
            try:
                partitions.append(await self._partition(partition, place))
            except (InventoryError, RedisError):
                redis_up = False
        return Reading(partitions, drift, {"postgres": True, "redis": redis_up})

    async def _partition(self, partition: PartitionId, place: asyncpg.Record) -> PartitionGauges:
        snapshot = await self._store.snapshot(partition)
        behind = snapshot.sequence
        if place["epoch"] == snapshot.epoch:
            behind = max(0, snapshot.sequence - place["sequence"])
        age = await self._age(partition, snapshot, snapshot.sequence - behind) if behind else 0.0
        return PartitionGauges(partition, snapshot.outbox_length, snapshot.due_holds, behind, age)

    async def _age(self, partition: PartitionId, snapshot: Snapshot, applied: int) -> float:
        first = f"{snapshot.epoch}-{applied + 1}"
        entries = await self._client.xrange(outbox_key(partition), min=first, count=1)
        for _, fields in entries or ():
            if fields:
                event = msgspec.json.decode(fields[b"event"], type=_OccurredAt)
                return max(0.0, (snapshot.read_at - event.occurred_at) / 1000)
        return 0.0
