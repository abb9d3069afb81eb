"""Operators' lists and figures: all sales, a sale's live figures, the audit log."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from gateway.api.contract.cursors import Cursor, decode_cursor, encode_cursor
from gateway.api.contract.operator_schemas import QueueFigures
from gateway.api.contract.overview_schemas import (
    AuditEntry,
    AuditLogAnswer,
    FigureItem,
    FiguresAnswer,
    PipelineFigures,
    SalesAnswer,
    SaleSummary,
)
from gateway.api.contract.rendering import instant
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.operations.gauges import Gauges, PartitionGauges
from gateway.api.queue.control import QueueOperations
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem
from gateway.api.sales.snapshots import Snapshots
from gateway.inventory.errors import InventoryError
from gateway.inventory.types import SaleState, Snapshot

SALES_PAGE = 50
AUDIT_PAGE = 50
_RUNNING = frozenset({SaleState.OPEN, SaleState.PAUSED, SaleState.CLOSED})
_WITH_ROOM = _RUNNING | {SaleState.SCHEDULED}


class Overview:
    """Reads the lists and figures; every method raises Problem and LedgerUnavailable."""

    def __init__(
        self,
        directory: SaleDirectory,
        ledger: Ledger,
        snapshots: Snapshots,
        metrics: GatewayMetrics,
        gauges: Gauges,
        waiting: QueueOperations,
    ) -> None:
        """The sources: the ledger, the partitions' counters, the gauges, and the waiting rooms."""
        self._directory = directory
        self._ledger = ledger
        self._snapshots = snapshots
        self._metrics = metrics
        self._gauges = gauges
        self._waiting = waiting

    async def sales(self, cursor: str | None) -> SalesAnswer:
        """One page of all sales, newest first."""
        after = decode_cursor(cursor) if cursor else None
        rows = await self._ledger.fetch(
            QUERIES["sales_page"],
            after and after.created_at,
            after and after.identifier,
            SALES_PAGE + 1,
        )
        shown, more = rows[:SALES_PAGE], None
        if len(rows) > SALES_PAGE:
            more = encode_cursor(Cursor(shown[-1]["created_at"], shown[-1]["sale_id"]))
        return SalesAnswer(tuple(_summary(row) for row in shown), more)

    async def figures(self, sale_id: str) -> FiguresAnswer:
        """A sale's figures now: one snapshot of each partition, and gauges up to a second old."""
        facts = await facts_or_problem(self._directory, sale_id)
        return FiguresAnswer(
            sale_id=sale_id,
            state=facts.state,
            version=facts.version,
            opens_at=_instant_or_none(facts.spec.opens_at),
            closes_at=_instant_or_none(facts.spec.closes_at),
            read_at=instant(datetime.now(UTC)),
            items=await self._items(facts),
            gateway=self._metrics.figures(),
            pipeline=await self._pipeline(facts),
            waiting_room=await self._room(facts),
        )

    async def audit_log(self, sale_id: str | None, before: int | None) -> AuditLogAnswer:
        """One page of entries older than `before`, newest first; of one sale, or (None) of all."""
        rows = await self._ledger.fetch(QUERIES["audit_page"], sale_id, before, AUDIT_PAGE + 1)
        shown = tuple(_entry(row) for row in rows[:AUDIT_PAGE])
        more = str(shown[-1].audit_id) if len(rows) > AUDIT_PAGE else None
        return AuditLogAnswer(shown, more)

    async def _items(self, facts: SaleFacts) -> tuple[FigureItem, ...] | None:
        if not facts.opened:
            return None
        names = {item.sku: item.name for item in facts.catalog.items}
        try:
            if facts.state is SaleState.SETTLED:
                counters = (await self._snapshots.of_sale(facts.sale_id)).items
                return tuple(
                    FigureItem(i.sku, names[i.sku], i.available, i.held, i.sold, paused=False)
                    for i in counters
                )
            return _summed(names, await self._snapshots.of_partitions(facts))
        except InventoryError:
            return None  # the pipeline's figures say `recovering`

    async def _room(self, facts: SaleFacts) -> QueueFigures | None:
        if facts.spec.waiting_room is None or facts.state not in _WITH_ROOM:
            return None
        try:
            return await self._waiting.figures(facts.sale_id)
        except InventoryError:
            return None  # this worker has not read the room lately

    async def _pipeline(self, facts: SaleFacts) -> PipelineFigures | None:
        if facts.state not in _RUNNING:
            return None
        reading = await self._gauges.read()
        partitions = reading.of_sale(facts.sale_id)
        return PipelineFigures(
            outbox_length=_sum(partitions, "outbox_length"),
            due_holds=_sum(partitions, "due_holds"),
            ledger_lag_events=_sum(partitions, "lag_events"),
            ledger_lag_seconds=max(
                (p.lag_seconds for p in partitions if p.lag_seconds is not None), default=None
            ),
            drift=reading.drift_of(facts.sale_id),
            dead_letters=reading.open_letters,
            recovering=any(p.recovering for p in partitions) if partitions else None,
            stopped=any(p.stopped for p in partitions) if partitions else None,
        )


def _summed(names: dict[str, str], snapshots: tuple[Snapshot, ...]) -> tuple[FigureItem, ...]:
    paused = {sku for snapshot in snapshots for sku in snapshot.paused_skus}
    units = {sku: dict.fromkeys(("available", "held", "sold"), 0) for sku in names}
    for snapshot in snapshots:
        for account in snapshot.accounts:
            for counter in units[account.sku]:
                units[account.sku][counter] += getattr(account, counter)
    return tuple(
        FigureItem(sku=sku, name=name, paused=sku in paused, **units[sku])
        for sku, name in names.items()
    )


def _sum(partitions: tuple[PartitionGauges, ...], name: str) -> int | None:
    """The sum over the partitions; None when a partition's value is unknown."""
    values = [getattr(partition, name) for partition in partitions]
    return sum(values) if values and None not in values else None


def _summary(row: asyncpg.Record) -> SaleSummary:
    return SaleSummary(
        sale_id=row["sale_id"],
        state=row["state"],
        version=row["version"],
        opens_at=_instant_or_none(row["opens_at"]),
        closes_at=_instant_or_none(row["closes_at"]),
        created_at=instant(row["created_at"]),
    )


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        audit_id=row["audit_id"],
        sale_id=row["sale_id"],
        actor=row["actor"],
        action=row["action"],
        detail=msgspec.json.decode(row["detail"], type=dict[str, Any]),
        request_id=row["request_id"],
        occurred_at=instant(row["occurred_at"]),
    )


def _instant_or_none(moment: datetime | None) -> str | None:
    return instant(moment) if moment else None
