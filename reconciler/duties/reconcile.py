"""Duty: reconciliations, requested by a row or periodic, stored with their differences."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import structlog

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.process.audit import AuditAction
from reconciler.comparing.catching_up import LedgerBehind
from reconciler.comparing.compare import CompareConfig, Comparison, compare_partition
from reconciler.comparing.differences import DIFFERENCES_MAX, Difference
from reconciler.context import OUTAGES, QUERIES, Context
from reconciler.duties.audit import write_audit
from reconciler.duties.directory import read_partitions
from reconciler.rebuilding.repair import Repair, RepairOrder

# Requests wake the duty; this pause is for a request whose notification was lost.
LOOK_SECONDS = 1.0
RUNS_MAX = 100
# `requested_by` of periodic reconciliations; `plan_reconciliations` has the same name.
PERIODIC = "reconciler"

_log = structlog.get_logger()
_COLUMNS = Difference.__struct_fields__


@dataclass(frozen=True, slots=True)
class _Clean:
    """Nothing differed at `position`; `whole_at`: the last whole comparison, monotonic seconds."""

    position: Position
    whole_at: float


class Reconcile:
    """Runs reconciliations, one at a time."""

    name: ClassVar[str] = "reconcile"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 3600.0

    def __init__(self, context: Context, config: CompareConfig) -> None:
        self._context = context
        self._config = config
        self._clean: dict[PartitionId, _Clean] = {}

    async def run_once(self) -> float:
        """Run every reconciliation that is requested, or due by the interval."""
        ledger = self._context.ledger
        # Only the lead runs them, one at a time: a row that says running has lost its reconciler.
        await ledger.execute(QUERIES["reopen_reconciliations"])
        await ledger.execute(QUERIES["plan_reconciliations"], self._config.interval_seconds)
        for _ in range(RUNS_MAX):
            row = await ledger.fetchrow(QUERIES["claim_reconciliation"])
            if row is None:
                return LOOK_SECONDS
            await ledger.execute(QUERIES["prune_reconciliations"])
            periodic = row["requested_by"] == PERIODIC
            await self._run(
                row["reconciliation_id"],
                row["sale_id"],
                actor=row["requested_by"] if row["apply"] else None,
                periodic=periodic,
            )
        return 0.0

    async def run_by_hand(self, sale_id: str) -> str:
        """Compare a sale at once, without repairs; returns the outcome as a line."""
        identifier = await self._context.ledger.fetchval(QUERIES["begin_reconciliation"], sale_id)
        return await self._run(identifier, sale_id, actor=None, periodic=False)

    async def _run(
        self, identifier: int, sale_id: str, *, actor: str | None, periodic: bool
    ) -> str:
        """Compare; with an `actor`, who asked for a repair, also repair. Returns the outcome."""
        try:
            partitions = await read_partitions(self._context.ledger, sale_id)
            found = [await self._compare(live.partition, periodic) for live in partitions]
        except LedgerBehind as error:
            return await self._fail(identifier, sale_id, "ledger_behind", str(error))
        except Recovering as error:
            return await self._fail(identifier, sale_id, "recovering", str(error))
        except OUTAGES as error:
            # Stored if it can be: a request must not wait for what will not come.
            reason = str(error) or type(error).__name__
            return await self._fail(identifier, sale_id, "recovering", reason)
        return await self._store(identifier, sale_id, found, actor)

    async def _compare(self, partition: PartitionId, periodic: bool) -> Comparison:
        """Compare a partition: only changes, where a periodic run follows a recent whole one.

        Nothing may have differed since then.
        """
        clean, now = self._clean.get(partition), time.monotonic()
        recent = clean is not None and now - clean.whole_at < self._config.full_interval_seconds
        since = clean.position if clean is not None and recent and periodic else None
        found = await compare_partition(self._context, partition, self._config, since=since)
        if found.differences:
            self._clean.pop(partition, None)
        else:
            whole_at = clean.whole_at if clean is not None and since is not None else now
            self._clean[partition] = _Clean(found.position, whole_at)
        return found

    async def _fail(self, identifier: int, sale_id: str, failure: str, reason: str = "") -> str:
        _log.warning("reconciliation_failed", sale_id=sale_id, failure=failure, reason=reason)
        await self._context.ledger.execute(QUERIES["fail_reconciliation"], identifier, failure)
        return f"reconciliation {identifier} of {sale_id}: failed, {failure} {reason}".rstrip()

    async def _store(
        self, identifier: int, sale_id: str, found: Sequence[Comparison], actor: str | None
    ) -> str:
        """The differences first, so that a repair that is cut short is on record."""
        marks = [
            {
                "partition": one.partition.number,
                "epoch": one.position.epoch,
                "sequence": one.position.sequence,
            }
            for one in found
        ]
        watermarks = msgspec.json.encode(marks).decode()
        differences = await self._add_differences(identifier, found)
        repaired = 0
        if actor is not None:
            order = RepairOrder(identifier, actor, self._config.ledger_wait_seconds)
            repaired = await self._repair(order, found, differences)
        async with self._context.ledger.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES["finish_reconciliation"], identifier, watermarks)
            if repaired:
                await write_audit(
                    connection,
                    AuditAction.RECONCILIATION_REPAIRED,
                    sale_id,
                    reconciliation_id=identifier,
                    requested_by=actor,
                    differences=len(differences),
                    repaired=repaired,
                )
        level = _log.error if differences else _log.info
        level(
            "reconciled",
            sale_id=sale_id,
            at=marks,
            differences=len(differences),
            repaired=repaired,
        )
        outcome = f"{len(differences)} differences" if differences else "balanced"
        places = ", ".join(f"{m['partition']}@{m['epoch']}-{m['sequence']}" for m in marks)
        return f"reconciliation {identifier} of {sale_id}: {outcome} at {places or 'no partition'}"

    async def _add_differences(
        self, identifier: int, found: Sequence[Comparison]
    ) -> dict[int, Difference]:
        """Store all, each under a number of its own."""
        differences = [each for one in found for each in one.differences][:DIFFERENCES_MAX]
        columns = [[getattr(each, name) for each in differences] for name in _COLUMNS]
        async with self._context.ledger.acquire() as connection, connection.transaction():
            last: int = await connection.fetchval(QUERIES["restart_differences"], identifier)
            numbered = dict(enumerate(differences, start=last + 1))
            await connection.execute(
                QUERIES["add_differences"], identifier, list(numbered), *columns
            )
        return numbered

    async def _repair(
        self,
        order: RepairOrder,
        found: Sequence[Comparison],
        differences: Mapping[int, Difference],
    ) -> int:
        """How many differences are gone."""
        repaired = 0
        for comparison in found:
            number = comparison.partition.number
            own = {key: each for key, each in differences.items() if each.partition == number}
            repair = Repair(self._context, comparison, order)
            await repair.apply(own)
            await self._context.ledger.execute(
                QUERIES["mark_repaired"], order.reconciliation_id, sorted(repair.repaired)
            )
            repaired += len(repair.repaired)
        return repaired
