"""Comparisons of Redis with the ledger: the reconciler makes them, calls ask for them."""

from collections import defaultdict

import asyncpg
import msgspec

from gateway.api.contract.operator_schemas import (
    DifferenceAnswer,
    RebuildAnswer,
    ReconciliationAnswer,
    ReconciliationsAnswer,
    WatermarkAnswer,
)
from gateway.api.contract.problems import Problem
from gateway.api.contract.rendering import instant
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.operations.asking import answered
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.lookup import facts_or_problem

RECONCILIATIONS_SHOWN = 20
DIFFERENCES_SHOWN = 10_000


# Failures the reconciler names; another one may pass when it is asked again.
_FAILURES = {
    "ledger_behind": "ledger_behind",
    "overloaded": "overloaded",
}


class Reconciliations:
    """Comparisons of Redis and the ledger, asked of the reconciler."""

    def __init__(self, directory: SaleDirectory, ledger: Ledger, reads: Ledger) -> None:
        """Over the ledger; `reads` has connections of its own, so that looks hold up nobody."""
        self._directory = directory
        self._ledger = ledger
        self._reads = reads

    async def run(self, sale_id: str, caller: Caller, *, apply: bool) -> ReconciliationAnswer:
        """Ask for one and wait. Raises Problem: the reconciler's reason, or that it is silent."""
        facts = await facts_or_problem(self._directory, sale_id)
        if not facts.opened:
            raise Problem(
                "invalid_state",
                f"A sale that is {facts.state} has nothing to compare.",
                state=facts.state,
            )
        async with self._ledger.transaction() as connection:
            identifier: int = await connection.fetchval(
                QUERIES["request_reconciliation"], sale_id, apply, caller.subject
            )
            await write_audit(
                connection,
                caller,
                "reconciliation_asked",
                sale_id,
                reconciliation_id=identifier,
                apply=apply,
            )

        async def finished() -> bool:
            status = await self._reads.fetchval(QUERIES["reconciliation_status"], identifier)
            return status in {"done", "failed"}

        if not await answered(finished):
            raise Problem(
                "recovering",
                "The reconciler has not answered; its result will be listed when it has.",
                reconciliation_id=identifier,
            )
        rows = await self._reads.fetch(QUERIES["reconciliation"], identifier)
        (answer,) = await self._answers(rows)
        if answer.status == "failed":
            code = _FAILURES.get(answer.failure or "", "recovering")
            raise Problem(
                code,
                f"The comparison could not be made: {answer.failure}.",
                reconciliation_id=identifier,
            )
        return answer

    async def of_sale(self, sale_id: str) -> ReconciliationsAnswer:
        """The latest ones, newest first."""
        await facts_or_problem(self._directory, sale_id)
        rows = await self._reads.fetch(
            QUERIES["reconciliations_of_sale"], sale_id, RECONCILIATIONS_SHOWN
        )
        return ReconciliationsAnswer(tuple(await self._answers(rows)))

    async def _answers(self, rows: list[asyncpg.Record]) -> list[ReconciliationAnswer]:
        ids = [row["reconciliation_id"] for row in rows]
        differences: defaultdict[int, list[DifferenceAnswer]] = defaultdict(list)
        for row in await self._reads.fetch(QUERIES["differences"], ids, DIFFERENCES_SHOWN):
            fields = {name: row[name] for name in DifferenceAnswer.__struct_fields__}
            differences[row["reconciliation_id"]].append(DifferenceAnswer(**fields))
        rebuilds: defaultdict[int, list[RebuildAnswer]] = defaultdict(list)
        for row in await self._reads.fetch(QUERIES["rebuilds"], ids):
            rebuilds[row["reconciliation_id"]].append(
                RebuildAnswer(
                    partition=row["partition"],
                    epoch=row["epoch"],
                    previous_epoch=row["previous_epoch"],
                    previous_sequence=row["previous_sequence"],
                    rebuilt_at=instant(row["occurred_at"]),
                    shift_ms=row["shift_ms"],
                )
            )
        return [
            ReconciliationAnswer(
                reconciliation_id=row["reconciliation_id"],
                sale_id=row["sale_id"],
                status=row["status"],
                apply=row["apply"],
                balanced=row["balanced"],
                failure=row["failure"],
                differences=tuple(differences[row["reconciliation_id"]]),
                watermarks=msgspec.json.decode(row["watermarks"], type=tuple[WatermarkAnswer, ...]),
                rebuilds=tuple(rebuilds[row["reconciliation_id"]]),
                requested_by=row["requested_by"],
                requested_at=instant(row["requested_at"]),
                finished_at=instant(row["finished_at"]) if row["finished_at"] else None,
            )
            for row in rows
        ]
