"""Reconciliations of Redis with the ledger: calls request them, the reconciler makes them."""

from collections import defaultdict

import asyncpg
import msgspec

from gateway.api.contract.operator_schemas import (
    DifferenceAnswer,
    ImportAnswer,
    RebuildAnswer,
    ReconciliationAnswer,
    ReconciliationsAnswer,
    WatermarkAnswer,
)
from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.rendering import instant
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.operations.asking import answered
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.lookup import facts_or_problem
from gateway.process.audit import AuditAction

RECONCILIATIONS_SHOWN = 20
DIFFERENCES_SHOWN = 10_000
UNFINISHED = frozenset({"requested", "running"})
# Failures of the reconciler that keep their code; any other becomes `recovering`.
_FAILURES = {
    "ledger_behind": "ledger_behind",
    "overloaded": "overloaded",
    "internal": "internal",
}


class Reconciliations:
    """Requests reconciliations from the reconciler, and lists their results."""

    def __init__(self, directory: SaleDirectory, ledger: Ledger, reads: Ledger) -> None:
        """`ledger` writes requests; `reads` has its own connections, so lists block no write."""
        self._directory = directory
        self._ledger = ledger
        self._reads = reads

    async def run(
        self, sale_id: str, caller: Caller, *, apply: bool, wait_seconds: float | None
    ) -> ReconciliationAnswer:
        """Request a reconciliation, or join one that does as much, and wait for it.

        Returns a run that is done, or that goes on after the wait (`operations/asking.py`).
        Raises Problem: the reconciler's reason why it failed.
        """
        facts = await facts_or_problem(self._directory, sale_id)
        if not facts.opened:
            raise Problem(
                "invalid_state",
                f"A sale that is {facts.state} has nothing to compare.",
                state=facts.state,
            )
        identifier = await self._request(sale_id, caller, apply=apply)

        async def finished() -> bool:
            status = await self._reads.fetchval(QUERIES["reconciliation_status"], identifier)
            return status not in UNFINISHED

        await answered(finished, wait_seconds)
        answer = await self.one(sale_id, identifier)
        if answer.status == "failed":
            code = _FAILURES.get(answer.failure or "", "recovering")
            raise Problem(
                code,
                f"The reconciliation failed: {answer.failure}.",
                reconciliation_id=identifier,
            )
        return answer

    async def _request(self, sale_id: str, caller: Caller, *, apply: bool) -> int:
        """The number of a run under way, which goes on whether its callers wait or not."""
        async with self._ledger.transaction() as connection:
            await connection.execute(QUERIES["lock_reconciliations"], sale_id)
            joined: int | None = await connection.fetchval(
                QUERIES["join_reconciliation"], sale_id, apply
            )
            identifier: int = joined or await connection.fetchval(
                QUERIES["request_reconciliation"], sale_id, apply, caller.subject
            )
            await write_audit(
                connection,
                caller,
                AuditAction.RECONCILIATION_ASKED,
                sale_id,
                reconciliation_id=identifier,
                apply=apply,
                joined=joined is not None,
            )
        return identifier

    async def one(self, sale_id: str, identifier: int) -> ReconciliationAnswer:
        """A reconciliation of the sale as it is now; to look at one is to wait for it.

        Raises Problem.
        """
        await facts_or_problem(self._directory, sale_id)
        rows = await self._reads.fetch(QUERIES["reconciliation"], identifier)
        (answer,) = await self._answers(rows) or (None,)
        if answer is None or answer.sale_id != sale_id:
            raise not_found("reconciliation")
        if answer.status in UNFINISHED:
            await self._ledger.fetchval(QUERIES["wait_for_reconciliation"], identifier)
        return answer

    async def of_sale(self, sale_id: str) -> ReconciliationsAnswer:
        """The latest reconciliations of a sale, newest first. Raises Problem."""
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
        imports: defaultdict[int, list[ImportAnswer]] = defaultdict(list)
        for row in await self._reads.fetch(QUERIES["imports"], ids):
            fields = {name: row[name] for name in ImportAnswer.__struct_fields__[:-1]}
            imports[row["reconciliation_id"]].append(
                ImportAnswer(**fields, imported_at=instant(row["imported_at"]))
            )
        return [
            ReconciliationAnswer(
                reconciliation_id=row["reconciliation_id"],
                sale_id=row["sale_id"],
                status=row["status"],
                apply=row["apply"],
                balanced=row["balanced"],
                failure=row["failure"],
                compared=row["compared"],
                to_compare=row["to_compare"],
                differences=tuple(differences[row["reconciliation_id"]]),
                watermarks=msgspec.json.decode(row["watermarks"], type=tuple[WatermarkAnswer, ...]),
                rebuilds=tuple(rebuilds[row["reconciliation_id"]]),
                imports=tuple(imports[row["reconciliation_id"]]),
                requested_by=row["requested_by"],
                requested_at=instant(row["requested_at"]),
                finished_at=instant(row["finished_at"]) if row["finished_at"] else None,
            )
            for row in rows
        ]
