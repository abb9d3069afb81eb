"""Gauges of partitions in Redis and of the ledger, read on request, at most once a second.

When Redis or Postgres does not answer, its gauges are left out and `dropgate_gauges_up` is 0.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

import asyncpg
import msgspec
import redis.asyncio as redis_py
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from gateway.api.ledger.connections import Ledger, LedgerUnavailable
from gateway.api.ledger.queries import QUERIES
from gateway.inventory.errors import InventoryError
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, partition_keys
from gateway.inventory.redis.memory import MEMORY_FIELDS, Memory, memory_of
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Snapshot

FRESH_SECONDS = 1.0
SALES_MAX = 100
SHOWN_COUNTERS = ("available", "held", "sold")


class _OccurredAt(msgspec.Struct, frozen=True):
    occurred_at: int


class PartitionGauges(msgspec.Struct, frozen=True):
    """Figures of one partition; a figure that could not be read is None and is left out.

    `lag_seconds` is the age of the first event the ledger has not applied, `older_events` how many
    the ledger lacks of those that it once had, `floor_margin` the smallest distance of an item's
    available units from its floor, `outbox_fill` the used share of the outbox's bound,
    `clock_ahead_seconds` how far the partition's wall clock is ahead of its server's, `units` each
    item's units over its locations, by (sku, counter).
    """

    partition: PartitionId
    recovering: bool
    stopped: bool
    outbox_length: int | None = None
    outbox_fill: float | None = None
    due_holds: int | None = None
    lag_events: int | None = None
    lag_seconds: float | None = None
    older_events: int | None = None
    floor_margin: int | None = None
    clock_ahead_seconds: float | None = None
    units: Mapping[tuple[str, str], int] = {}


_PARTITION_GAUGES = (
    ("outbox_length", "dropgate_outbox_length", "Events in the outbox"),
    ("outbox_fill", "dropgate_outbox_fill_ratio", "Events beyond the watermark / outbox bound"),
    ("due_holds", "dropgate_due_holds", "Holds past their deadline, not expired yet"),
    ("lag_events", "dropgate_ledger_lag_events", "Events the ledger has not applied"),
    ("lag_seconds", "dropgate_ledger_lag_seconds", "Age of the first event not applied"),
    (
        "older_events",
        "dropgate_ledger_older_events",
        "Events the ledger once had and has not, because it came back older",
    ),
    ("floor_margin", "dropgate_floor_margin", "Fewest units any item is above its floor"),
    (
        "clock_ahead_seconds",
        "dropgate_clock_ahead_seconds",
        "Partition's clock beyond its server's",
    ),
    ("recovering", "dropgate_partition_recovering", "1 while the partition answers no call"),
    ("stopped", "dropgate_ledger_stopped", "1 while the ledger applies no more events"),
)


class Reading(Collector):
    """All gauges at one moment."""

    def __init__(
        self,
        partitions: list[PartitionGauges],
        drift: dict[str, int],
        up: dict[str, bool],
        dead_letters: dict[str, int] | None = None,
        *,
        reconciler_leads: bool | None = None,
    ) -> None:
        """`drift`: unrepaired differences of each sale's last reconciliation; `up`: whether
        Postgres and Redis answered; `dead_letters`: open dead letters by reason;
        `reconciler_leads`: None when the ledger did not answer.
        """
        self._partitions = partitions
        self._drift = drift
        self._up = up
        self._dead_letters = dead_letters or {}
        self._reconciler_leads = reconciler_leads

    def of_sale(self, sale_id: str) -> tuple[PartitionGauges, ...]:
        """The gauges of a sale's partitions; empty when the sale was not among those read."""
        return tuple(p for p in self._partitions if p.partition.sale_id == sale_id)

    def drift_of(self, sale_id: str) -> int | None:
        """Unrepaired differences of the sale's last reconciliation; None without one."""
        return self._drift.get(sale_id)

    @property
    def open_letters(self) -> int | None:
        """Open dead letters of all sales; None when the ledger did not answer."""
        return sum(self._dead_letters.values()) if self._up.get("postgres") else None

    def collect(self) -> Iterable[Metric]:
        """The metrics for Prometheus."""
        families = []
        for field, name, text in _PARTITION_GAUGES:
            family = GaugeMetricFamily(name, text, labels=["sale", "partition"])
            for gauges in self._partitions:
                value = getattr(gauges, field)
                if value is not None:
                    labels = [gauges.partition.sale_id, str(gauges.partition.number)]
                    family.add_metric(labels, float(value))
            families.append(family)
        units = GaugeMetricFamily(
            "dropgate_units", "Units of an item", labels=["sale", "partition", "sku", "counter"]
        )
        for gauges in self._partitions:
            place = [gauges.partition.sale_id, str(gauges.partition.number)]
            for (sku, counter), value in gauges.units.items():
                units.add_metric([*place, sku, counter], value)
        drift = GaugeMetricFamily(
            "dropgate_drift", "Differences found by the last reconciliation", labels=["sale"]
        )
        for sale_id, count in self._drift.items():
            drift.add_metric([sale_id], count)
        letters = GaugeMetricFamily(
            "dropgate_dead_letters_open", "Dead letters not resolved", labels=["reason"]
        )
        for reason, count in self._dead_letters.items():
            letters.add_metric([reason], count)
        up = GaugeMetricFamily("dropgate_gauges_up", "Parts that answered", labels=["part"])
        for part, answered in self._up.items():
            up.add_metric([part], float(answered))
        leads = GaugeMetricFamily("dropgate_reconciler_leads", "1 while a reconciler has the lead")
        if self._reconciler_leads is not None:
            leads.add_metric([], float(self._reconciler_leads))
        return (*families, units, drift, letters, leads, up)


class Gauges:
    """Reads all gauges; keeps the last reading for a second."""

    def __init__(self, ledger: Ledger, store: ReservationStore, client: redis_py.Redis) -> None:
        """`store` reads snapshots, `client` the run id and the outboxes."""
        self._ledger = ledger
        self._store = store
        self._client = client
        self._reading: Reading | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> Reading:
        """The last reading if it is at most FRESH_SECONDS old, else a new reading."""
        async with self._lock:
            if self._reading is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._reading = await self._read()
                self._read_at = time.monotonic()
            return self._reading

    async def _read(self) -> Reading:
        try:
            sales = await self._ledger.fetch(QUERIES["running_sales"], SALES_MAX)
            ids = [row["sale_id"] for row in sales]
            places = await self._ledger.fetch(QUERIES["ledger_lag"], ids)
            drifted = await self._ledger.fetch(QUERIES["drift"], ids)
            floors = await self._ledger.fetch(QUERIES["item_floors"], ids)
            letters = await self._ledger.fetch(QUERIES["open_letters_by_reason"])
            leads = await self._ledger.fetchval(QUERIES["reconciler_leads"])
        except LedgerUnavailable:
            return Reading([], {}, {"postgres": False})
        floor_of: dict[str, dict[str, int]] = {}
        for row in floors:
            floor_of.setdefault(row["sale_id"], {})[row["sku"]] = row["floor"]
        try:
            run_id = await read_run_id(self._client)
        except (RedisError, InventoryError):
            run_id = None
        partitions = [
            await self._partition(place, floor_of.get(place["sale_id"], {}), run_id)
            for place in places
        ]
        return Reading(
            partitions,
            {row["sale_id"]: row["differences"] for row in drifted},
            {"postgres": True, "redis": run_id is not None},
            {row["reason"]: row["letters"] for row in letters},
            reconciler_leads=leads,
        )

    async def _partition(
        self, place: asyncpg.Record, floors: dict[str, int], run_id: str | None
    ) -> PartitionGauges:
        partition = PartitionId(place["sale_id"], place["partition"])
        stopped = place["stopped_reason"] is not None
        if run_id is None:
            return PartitionGauges(partition, recovering=True, stopped=stopped)
        try:
            snapshot = await self._store.snapshot(partition)
            seconds, microseconds = await self._client.time()
            behind = snapshot.sequence
            if place["epoch"] == snapshot.epoch:
                behind = max(0, snapshot.sequence - place["sequence"])
            applied = snapshot.sequence - behind
            age = await self._age(partition, snapshot, applied) if behind else 0.0
            meta = partition_keys(partition)[0]
            bound, *remembered = await self._client.hmget(meta, ["outbox_bound", *MEMORY_FIELDS])
        except (InventoryError, RedisError):
            return PartitionGauges(partition, recovering=True, stopped=stopped)
        return PartitionGauges(
            partition,
            recovering=snapshot.run_id != run_id,
            stopped=stopped,
            outbox_length=snapshot.outbox_length,
            outbox_fill=(snapshot.sequence - snapshot.ledger_sequence) / int(bound or 1),
            due_holds=snapshot.due_holds,
            lag_events=behind,
            lag_seconds=age,
            older_events=await self._older_events(place, memory_of(remembered)),
            floor_margin=floor_margin(snapshot, floors),
            clock_ahead_seconds=max(
                0.0, snapshot.read_at / 1000 - seconds - microseconds / 1_000_000
            ),
            units=units_of(snapshot),
        )

    async def _older_events(self, place: asyncpg.Record, memory: Memory) -> int | None:
        """How many events the ledger has lost; None where it does not answer any more.

        The watermark was read before the memory. Where it seems to have less it is read again, as
        the ledger may have gone on in between.
        """
        if not memory.lacking(_applied(place)):
            return 0
        try:
            again = await self._ledger.fetch(QUERIES["ledger_lag"], [place["sale_id"]])
        except LedgerUnavailable:
            return None
        same = (row for row in again if row["partition"] == place["partition"])
        return max((memory.lacking(_applied(row)) for row in same), default=None)

    async def _age(self, partition: PartitionId, snapshot: Snapshot, applied: int) -> float:
        first = f"{snapshot.epoch}-{applied + 1}"
        entries = await self._client.xrange(outbox_key(partition), min=first, count=1)
        for _, fields in entries or ():
            if fields:
                event = msgspec.json.decode(fields[b"event"], type=_OccurredAt)
                return max(0.0, (snapshot.read_at - event.occurred_at) / 1000)
        return 0.0


def _applied(place: asyncpg.Record) -> Position:
    return Position(place["epoch"], place["sequence"])


def units_of(snapshot: Snapshot) -> dict[tuple[str, str], int]:
    """The units of each item over its locations, by (sku, counter)."""
    units: dict[tuple[str, str], int] = {}
    for account in snapshot.accounts:
        for counter in SHOWN_COUNTERS:
            place = (account.sku, counter)
            units[place] = units.get(place, 0) + getattr(account, counter)
    return units


def floor_margin(snapshot: Snapshot, floors: dict[str, int]) -> int | None:
    """The fewest units that any item, over its locations, is above its floor; below 0: an oversell.

    A negative floor is deliberate overbooking, and counts as the floor. None without items.
    """
    return min(
        (
            units - floors.get(sku, 0)
            for (sku, counter), units in units_of(snapshot).items()
            if counter == "available"
        ),
        default=None,
    )
