"""Duty: reconciliations, requested by a row or periodic, stored with their differences."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import structlog

from gateway.inventory.errors import InventoryError, Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.process.audit import AuditAction
from reconciler.comparing.balanced import Balanced
from reconciler.comparing.catching_up import LedgerBehind
from reconciler.comparing.compare import CompareConfig, Comparison, compare_partition
from reconciler.comparing.differences import DIFFERENCES_MAX, Difference
from reconciler.context import OUTAGES, QUERIES, Context
from reconciler.duties.audit import write_audit
from reconciler.duties.directory import read_partitions
from reconciler.duties.progress import Progress, written
from reconciler.duties.sights import Seen, Sights
from reconciler.rebuilding.repair import Repair, RepairOrder

# Requests wake the duty; this pause is for a request whose notification was lost.
LOOK_SECONDS = 1.0
RUNS_MAX = 100
# `requested_by` of periodic reconciliations; `plan_reconciliations` has the same name.
PERIODIC = "reconciler"
# That of reconciliations by hand; `begin_reconciliation` has the same name.
BY_HAND = "by hand"
# A run whose reconciler died is repeated only if somebody waited for it this long ago at most. More
# than a call waits, and than the time until a caller looks again.
ABANDONED_SECONDS = 60.0
# A run that takes longer has failed, and is not repeated.
RUN_SECONDS = 1800.0

_log = structlog.get_logger()
_COLUMNS = Difference.__struct_fields__


@dataclass(frozen=True, slots=True)
class _Run:
    """A reconciliation to make, as its row says."""

    identifier: int
    sale_id: str
    requested_by: str
    apply: bool = False


class Reconcile:
    """Runs reconciliations, one at a time."""

    name: ClassVar[str] = "reconcile"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 3600.0

    def __init__(
        self, context: Context, sights: Sights, balanced: Balanced, config: CompareConfig
    ) -> None:
        """`balanced` is what this duty finds, for others to doubt."""
        self._context = context
        self._sights = sights
        self._balanced = balanced
        self._config = config

    async def run_once(self) -> float:
        """Run every reconciliation that is requested, or due by the interval."""
        ledger = self._context.ledger
        began = time.monotonic()
        # Only the lead runs them, one at a time: a row that says running has lost its reconciler.
        await ledger.execute(QUERIES["reopen_reconciliations"], ABANDONED_SECONDS)
        await self._plan()
        for _ in range(RUNS_MAX):
            if time.monotonic() - began > self.deadline_seconds - RUN_SECONDS:
                return 0.0  # the next run has to end, or fail, before the duty's deadline
            row = await ledger.fetchrow(QUERIES["claim_reconciliation"])
            if row is None:
                return LOOK_SECONDS
            await ledger.execute(QUERIES["prune_reconciliations"])
            await self._run(
                _Run(row["reconciliation_id"], row["sale_id"], row["requested_by"], row["apply"])
            )
        return 0.0

    async def _plan(self) -> None:
        """Request a comparison of the sales whose turn it is and that are not quiet."""
        try:
            seen = await self._sights.current()
        except InventoryError:
            return  # no comparison can be made without Redis
        if len(self._balanced) > len(seen):
            self._balanced.keep_only({each.live.partition for each in seen})
        sales = {each.live.partition.sale_id for each in seen if not self._is_quiet(each)}
        if sales:
            await self._context.ledger.execute(
                QUERIES["plan_reconciliations"], self._config.interval_seconds, sorted(sales)
            )

    def _is_quiet(self, seen: Seen) -> bool:
        live, sight = seen.live, seen.sight
        return sight is not None and self._balanced.is_quiet(
            live.partition, sight.position, live.watermark
        )

    async def run_by_hand(self, sale_id: str) -> str:
        """Compare a sale at once, without repairs; returns the outcome as a line."""
        identifier = await self._context.ledger.fetchval(QUERIES["begin_reconciliation"], sale_id)
        return await self._run(_Run(identifier, sale_id, BY_HAND))

    async def _run(self, run: _Run) -> str:
        """Compare, and repair where that was asked for. Returns the outcome.

        A run that takes RUN_SECONDS, or meets a defect, has failed: it would only do so again.
        """
        progress, limit = Progress(), asyncio.timeout(RUN_SECONDS)
        shown = written(
            self._context, run.identifier, progress, by_hand=run.requested_by == BY_HAND
        )
        try:
            async with limit, shown:
                return await self._attempt(run, progress)
        except OUTAGES as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return await self._fail(run, "timed_out", f"took {RUN_SECONDS:g} s")
            raise
        except Exception:
            await self._fail(run, "internal")
            raise

    async def _attempt(self, run: _Run, progress: Progress) -> str:
        try:
            found = await self._compare_sale(run, progress)
        except LedgerBehind as error:
            return await self._fail(run, "ledger_behind", str(error))
        except Recovering as error:
            return await self._fail(run, "recovering", str(error))
        except OUTAGES as error:
            # Stored if it can be: a request must not wait for what will not come.
            return await self._fail(run, "recovering", str(error) or type(error).__name__)
        return await self._store(run, found, progress)

    async def _compare_sale(self, run: _Run, progress: Progress) -> list[Comparison]:
        ledger, periodic = self._context.ledger, run.requested_by == PERIODIC
        live = await read_partitions(ledger, run.sale_id)
        imports: int = await ledger.fetchval(QUERIES["count_imports"], run.sale_id)
        since = {
            each.partition: (
                self._balanced.since(each.partition, imports=imports) if periodic else None
            )
            for each in live
        }
        whole = [partition.number for partition in since if since[partition] is None]
        if whole:
            progress.expected = await ledger.fetchval(
                QUERIES["reservations_to_compare"], run.sale_id, whole
            )
        return [await self._compare(each, since[each], progress, imports) for each in since]

    async def _compare(
        self, partition: PartitionId, since: Position | None, progress: Progress, imports: int
    ) -> Comparison:
        began_at = time.monotonic()
        found = await compare_partition(
            self._context, partition, self._config, since=since, compared=progress.add
        )
        self._balanced.note(found, began_at=began_at, whole=since is None, imports=imports)
        return found

    async def _fail(self, run: _Run, failure: str, reason: str = "") -> str:
        _log.warning("reconciliation_failed", sale_id=run.sale_id, failure=failure, reason=reason)
        await self._context.ledger.execute(QUERIES["fail_reconciliation"], run.identifier, failure)
        return f"{_name(run)}: failed, {failure} {reason}".rstrip()

    async def _store(self, run: _Run, found: Sequence[Comparison], progress: Progress) -> str:
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
        differences = await self._add_differences(run.identifier, found)
        repaired = 0
        if run.apply:
            order = RepairOrder(run.identifier, run.requested_by, self._config.ledger_wait_seconds)
            repaired = await self._repair(order, found, differences)
        async with self._context.ledger.acquire() as connection, connection.transaction():
            await connection.execute(
                QUERIES["finish_reconciliation"],
                run.identifier,
                watermarks,
                progress.compared,
                progress.to_compare,
            )
            if repaired:
                await write_audit(
                    connection,
                    AuditAction.RECONCILIATION_REPAIRED,
                    run.sale_id,
                    reconciliation_id=run.identifier,
                    requested_by=run.requested_by,
                    differences=len(differences),
                    repaired=repaired,
                )
        level = _log.error if differences else _log.info
        level(
            "reconciled",
            sale_id=run.sale_id,
            at=marks,
            differences=len(differences),
            repaired=repaired,
        )
        outcome = f"{len(differences)} differences" if differences else "balanced"
        places = ", ".join(f"{m['partition']}@{m['epoch']}-{m['sequence']}" for m in marks)
        return f"{_name(run)}: {outcome} at {places or 'no partition'}"

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


def _name(run: _Run) -> str:
    return f"reconciliation {run.identifier} of {run.sale_id}"
