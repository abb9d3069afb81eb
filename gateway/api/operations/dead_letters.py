"""Events that could not be applied: the order writer keeps them, and replays one when asked."""

from base64 import b64encode

import asyncpg

from gateway.api.contract.operator_schemas import DeadLetterAnswer, DeadLettersAnswer
from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.rendering import instant
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.operations.asking import answered

LETTERS_PAGE = 50


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

        if not await answered(finished):
            raise Problem(
                "ledger_behind",
                "The order writer has not answered; it will replay the letter when it does.",
                dead_letter_id=identifier,
            )
        letter = await self._find(identifier)
        if letter.status == "dead":
            raise Problem(
                "invalid_state",
                f"The event was refused again: {letter.error}.",
                dead_letter_id=identifier,
                reason=letter.reason,
            )
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
