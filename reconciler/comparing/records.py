"""Every reservation of a partition, in Redis and in the ledger, page by page.

A page of the ledger is read first, then the same records in Redis in one step. Records that agree
are done with. The others, about SUSPECTS_MAX at a time, are read again the other way round: Redis
first, then the ledger once it has reached that number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, ReservationId
from reconciler.comparing.catching_up import wait_for_ledger
from reconciler.comparing.differences import DIFFERENCES_MAX, Difference
from reconciler.comparing.judging import SAME, Judge, LedgerReservation, Verdict
from reconciler.comparing.paging import Scope
from reconciler.comparing.reading import read_records, scan_tokens
from reconciler.context import QUERIES, Context

SUSPECTS_MAX = 2000
# A difference counts after LOOKS_MIN looks; a record that keeps changing gets up to LOOKS_MAX.
LOOKS_MIN = 3
LOOKS_MAX = 10

_log = structlog.get_logger()


@dataclass(slots=True)
class Records:
    """One pass over a partition's records; `differences` grows as it goes, to a bound."""

    scope: Scope
    judge: Judge
    ledger_wait_seconds: float
    differences: list[Difference] = field(default_factory=list)
    missing: int = 0
    suspects: list[str] = field(default_factory=list)

    @property
    def context(self) -> Context:
        """Where both sides are read."""
        return self.scope.context

    @property
    def partition(self) -> PartitionId:
        """The partition of the records."""
        return self.scope.partition

    @property
    def full(self) -> bool:
        """Whether as many differences were found as are kept."""
        return len(self.differences) >= DIFFERENCES_MAX

    async def compare_changed(self, since: Position) -> None:
        """The reservations with an event after `since`. Raises LedgerBehind."""
        async for page in self.scope.changed_reservations(since):
            reading = await read_records(self.context.reader, self.partition, list(page))
            await self.suspect(
                token
                for token, row in page.items()
                if self.judge.judge(token, reading, row, row.last) != SAME
            )
            if self.full:
                break
        await self.settle()

    async def suspect(self, tokens: Iterable[str]) -> None:
        """Note reservations that were not equal; looks again at once when there are many."""
        self.suspects.extend(tokens)
        if len(self.suspects) >= SUSPECTS_MAX:
            await self.settle()

    async def settle(self) -> None:
        """Look again at all that is suspected: what is left then is a difference."""
        suspects, self.suspects = self.suspects, []
        await self._look_again(suspects)

    async def find_unknown(self) -> None:
        """Records of Redis that the ledger does not have. Only needed where the counts differ."""
        found: set[str] = set()
        async for tokens in scan_tokens(self.context.reader, self.partition):
            ids = {str(ReservationId(self.partition, token)): token for token in tokens}
            rows = await self.context.ledger.fetch(QUERIES["known_reservations"], list(ids))
            unknown = ids.keys() - {row["reservation_id"] for row in rows}
            # SCAN may return a field twice; a token is judged once.
            fresh = [ids[name] for name in sorted(unknown) if ids[name] not in found]
            found.update(fresh)
            await self._look_again(fresh)
            if self.full:
                return

    async def _look_again(self, suspects: Sequence[str]) -> None:
        for start in range(0, len(suspects), self.scope.page_size):
            await self._look_until_final(suspects[start : start + self.scope.page_size])

    async def _look_until_final(self, tokens: Sequence[str]) -> None:
        """Look until every token is the same on both sides, or was different every time."""
        pending, verdicts = list(tokens), dict[str, Verdict]()
        for look in range(1, LOOKS_MAX + 1):
            verdicts = await self._look(pending)
            pending = [token for token in pending if verdicts[token] != SAME]
            moving = any(not verdicts[token].final for token in pending)
            if not pending or (look >= LOOKS_MIN and not moving):
                break
        for token in pending:
            verdict = verdicts[token]
            if not verdict.final:
                _log.warning("record_never_still", partition=str(self.partition))
            self.missing += any(d.kind == "hold_missing" for d in verdict.differences)
            self.differences.extend(verdict.differences)

    async def _look(self, tokens: Sequence[str]) -> dict[str, Verdict]:
        reading = await read_records(self.context.reader, self.partition, tokens)
        applied = await wait_for_ledger(
            self.context.ledger, self.partition, reading.position, self.ledger_wait_seconds
        )
        ids = [str(ReservationId(self.partition, token)) for token in tokens]
        rows = await self.context.ledger.fetch(QUERIES["reservations_by_id"], ids)
        known = {row.token: row for row in map(LedgerReservation.of, rows)}
        return {
            token: self.judge.judge(token, reading, known.get(token), applied) for token in tokens
        }
