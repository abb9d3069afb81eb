"""What the gateway asks of other processes: a reconciliation, the replay of a dead letter.

The question is a row and a NOTIFY; whoever does the work writes the answer into the row. The call
waits for it, up to 20 s.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from gateway.api.contract.operator_schemas import (
    DeadLetterAnswer,
    DeadLettersAnswer,
    DifferenceAnswer,
    RebuildAnswer,
    ReconciliationAnswer,
    ReconciliationsAnswer,
    WatermarkAnswer,
)
from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.rendering import instant
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.lookup import facts_or_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from gateway.api.ledger.connections import Ledger
    from gateway.api.sales.directory import SaleDirectory

WAIT_SECONDS = 20.0
POLL_FIRST_SECONDS = 0.02
POLL_MOST_SECONDS = 0.5
RECONCILIATIONS_SHOWN = 20
DIFFERENCES_SHOWN = 10_000
LETTERS_PAGE = 50


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
            detail = f"A sale that is {facts.state} has nothing to compare."
            raise Problem("invalid_state", detail, state=facts.state)
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

        if not await _poll(finished):
            detail = "The reconciler has not answered; its result will be listed when it has."
            raise Problem("recovering", detail, reconciliation_id=identifier)
        rows = await self._reads.fetch(QUERIES["reconciliation"], identifier)
        (answer,) = await self._answers(rows)
        if answer.status == "failed":
            code = _FAILURES.get(answer.failure or "", "recovering")
            detail = f"The comparison could not be made: {answer.failure}."
            raise Problem(code, detail, reconciliation_id=identifier)
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


class DeadLetters:
    """Events that could not be applied; their replay is asked of the order writer."""

    def __init__(self, ledger: Ledger, reads: Ledger) -> None:
        """Over the ledger; `reads` as in Reconciliations."""
        self._ledger = ledger
        self._reads = reads

    async def page(self, before: int | None) -> DeadLettersAnswer:
        """One page, newest first, of letters older than `before`."""
        rows = await self._reads.fetch(QUERIES["dead_letters"], before, LETTERS_PAGE + 1)
        shown = tuple(_letter(row) for row in rows[:LETTERS_PAGE])
        more = str(shown[-1].dead_letter_id) if len(rows) > LETTERS_PAGE else None
        return DeadLettersAnswer(shown, more)

    async def replay(self, identifier: int, caller: Caller) -> DeadLetterAnswer:
        """Apply it now. Raises Problem not_found, or invalid_state when it is refused again."""
        letter = await self._find(identifier)
        if letter.status in {"replayed", "dismissed"}:
            return letter
        async with self._ledger.transaction() as connection:
            await connection.execute(QUERIES["request_replay"], identifier)
            await write_audit(
                connection,
                caller,
                "dead_letter_replay_asked",
                letter.sale_id,
                dead_letter_id=identifier,
            )

        async def finished() -> bool:
            return (await self._find(identifier)).status != "replay_requested"

        if not await _poll(finished):
            detail = "The order writer has not answered; it will replay the letter when it does."
            raise Problem("ledger_behind", detail, dead_letter_id=identifier)
        letter = await self._find(identifier)
        if letter.status == "dead":
            detail = f"The event was refused again: {letter.error}."
            raise Problem("invalid_state", detail, dead_letter_id=identifier, reason=letter.reason)
        return letter

    async def _find(self, identifier: int) -> DeadLetterAnswer:
        row = await self._reads.fetchrow(QUERIES["dead_letter"], identifier)
        if row is None:
            raise not_found("dead letter")
        return _letter(row)


def _letter(row: asyncpg.Record) -> DeadLetterAnswer:
    fields = {name: row[name] for name in DeadLetterAnswer.__struct_fields__}
    fields["raw"] = b64encode(row["raw"]).decode()
    fields["created_at"] = instant(row["created_at"])
    fields["resolved_at"] = instant(row["resolved_at"]) if row["resolved_at"] else None
    return DeadLetterAnswer(**fields)


async def _poll(condition: Callable[[], Awaitable[bool]]) -> bool:
    """Whether the condition came to hold within WAIT_SECONDS."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    pause_seconds = POLL_FIRST_SECONDS
    while not await condition():
        if loop.time() + pause_seconds > deadline:
            return False
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, POLL_MOST_SECONDS)
    return True
