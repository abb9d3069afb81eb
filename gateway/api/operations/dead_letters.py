"""Events that could not be applied: the order writer keeps them, and replays them on request."""

from base64 import b64encode

import asyncpg

from gateway.api.contract.operator_schemas import DeadLetterAnswer, DeadLettersAnswer
from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.rendering import instant
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.operations.asking import answered
from gateway.process.audit import AuditAction

LETTERS_PAGE = 50


class DeadLetters:
    """Lists dead letters, and requests their replay from the order writer."""

    def __init__(self, ledger: Ledger, reads: Ledger) -> None:
        """`ledger` writes requests, `reads` lists and polls on connections of its own."""
        self._ledger = ledger
        self._reads = reads

    async def page(self, before: int | None) -> DeadLettersAnswer:
        """One page of dead letters older than `before` (None: all), newest first."""
        rows = await self._reads.fetch(QUERIES["dead_letters"], before, LETTERS_PAGE + 1)
        shown = tuple(_letter(row) for row in rows[:LETTERS_PAGE])
        more = str(shown[-1].dead_letter_id) if len(rows) > LETTERS_PAGE else None
        return DeadLettersAnswer(shown, more)

    async def replay(self, identifier: int, caller: Caller) -> DeadLetterAnswer:
        """Have the event applied now, and wait; a resolved dead letter is returned as it is.

        Raises Problem: not_found, invalid_state when the event is refused again, ledger_behind
        when the order writer does not answer in time.
        """
        letter = await self._find(identifier)
        if letter.status in {"replayed", "dismissed"}:
            return letter
        async with self._ledger.transaction() as connection:
            await connection.execute(QUERIES["request_replay"], identifier)
            await write_audit(
                connection,
                caller,
                AuditAction.DEAD_LETTER_REPLAY_ASKED,
                letter.sale_id,
                dead_letter_id=identifier,
            )

        async def finished() -> bool:
            return (await self._find(identifier)).status != "replay_requested"

        if not await answered(finished):
            raise Problem(
                "ledger_behind",
                "The order writer has not answered yet; it will replay the event later.",
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
