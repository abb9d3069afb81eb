"""Repairs in Redis what a comparison found: one account, reservation or buyer in each call.

Works at full load. An account gets what it lacked at the comparison's number, on top of whatever
moved since. Reservations and buyers are read once more, at a number the ledger has reached, and set
to the ledger's values only if they have not changed since that reading. A record that keeps
changing is read TRIES_MAX times and then left to the next reconciliation.

Nothing is repaired in a partition with a void number: the ledger lacks what that event did, so it
is Redis that may be right.
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import structlog

from gateway.inventory.errors import Recovering, UnknownOutcome
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, ReservationId
from gateway.inventory.store import RepairReply
from gateway.inventory.types import (
    Record,
    RepairAccount,
    RepairBuyer,
    RepairRequest,
    RepairReservation,
)
from reconciler.comparing.catching_up import LedgerBehind, wait_for_ledger
from reconciler.comparing.compare import COUNTERS, Comparison
from reconciler.comparing.differences import Difference, Kind
from reconciler.comparing.judging import SAME, Judge, LedgerReservation
from reconciler.comparing.ledger_records import FACTS, CallKeys, record_of, token_of
from reconciler.comparing.limits import read_numbers
from reconciler.comparing.reading import Reading, read_buyers, read_records
from reconciler.context import OUTAGES, QUERIES, Context

# Attempts: re-reads of a record that keeps changing, and resends after a lost reply.
TRIES_MAX = 3
PAGE = 200
_ABSENT = Position(0, 0)

_log = structlog.get_logger()


class _VoidNumber(Exception):
    """The ledger lacks an event of the partition."""


@dataclass(frozen=True, slots=True)
class RepairOrder:
    """Which reconciliation repairs, who asked for it, and how long the ledger may take."""

    reconciliation_id: int
    actor: str
    ledger_wait_seconds: float


@dataclass(slots=True)
class Repair:
    """The repair of one partition; `repaired` has the numbers of the differences that are gone."""

    context: Context
    comparison: Comparison
    order: RepairOrder
    repaired: set[int] = field(default_factory=set)

    @property
    def partition(self) -> PartitionId:
        """The partition that is repaired."""
        return self.comparison.partition

    async def apply(self, found: Mapping[int, Difference]) -> None:
        """Repair what can be repaired. After the loss of a server the rest stays as it is."""
        accounts: dict[tuple[str, str], dict[int, Difference]] = {}
        tokens: dict[str, list[int]] = {}
        buyers: dict[str, list[int]] = {}
        totals: list[int] = []
        for number, each in found.items():
            if each.kind is Kind.VOID:
                self._left("void")
                return
            if each.sku is not None and each.location is not None:
                accounts.setdefault((each.sku, each.location), {})[number] = each
            elif each.reservation_id is not None:
                token = each.reservation_id.rpartition(".")[2]
                tokens.setdefault(token, []).append(number)
            elif each.buyer_id is not None:
                buyers.setdefault(each.buyer_id, []).append(number)
            else:
                totals.append(number)
        try:
            for place, differences in accounts.items():
                await self._account(place, differences)
            await self._persist(tokens, self._reservations)
            await self._persist(buyers, self._buyers)
        except _VoidNumber:
            self._left("void")
        except (LedgerBehind, *OUTAGES) as error:
            self._left(str(error) or type(error).__name__)
        # The number of reservations is right once every reservation is.
        if tokens and all(self.repaired.issuperset(numbers) for numbers in tokens.values()):
            self.repaired.update(totals)

    async def _account(self, place: tuple[str, str], differences: Mapping[int, Difference]) -> None:
        values = {d.field: (d.redis_value, d.ledger_value) for d in differences.values()}
        if place not in self.comparison.places:
            return
        deltas = []
        for name in COUNTERS:
            redis, ledger = values.get(name, ("0", "0"))
            if redis is None or ledger is None:
                return
            deltas.append(int(ledger) - int(redis))
        request = RepairAccount(
            repair_id=self._id(differences),
            actor=self.order.actor,
            account=self.comparison.places.index(place) + 1,
            compared_sequence=self.comparison.position.sequence,
            deltas=tuple(deltas),
        )
        if await self._send(request):
            self.repaired.update(differences)

    async def _persist(
        self,
        wanted: Mapping[str, Sequence[int]],
        work: Callable[[Mapping[str, str]], Coroutine[Any, Any, list[str]]],
    ) -> None:
        """Repair in pages: `work` takes repair ids by subject, and returns what is well now."""
        pending = {subject: self._id(numbers) for subject, numbers in wanted.items()}
        for _ in range(TRIES_MAX):
            for page in _pages(pending):
                for subject in await work(page):
                    del pending[subject]
                    self.repaired.update(wanted[subject])

    async def _reservations(self, tokens: Mapping[str, str]) -> list[str]:
        reading = await read_records(self.context.reader, self.partition, list(tokens))
        applied = await self._reach(reading)
        ids = [str(ReservationId(self.partition, token)) for token in tokens]
        async with (
            self.context.ledger.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = await connection.fetch(QUERIES["reservations_by_id"], ids)
            stored = await connection.fetch(QUERIES["repair_records"], ids)
        known = {row.token: row for row in map(LedgerReservation.of, rows)}
        records: dict[str, Record] = {}
        for row in stored:
            lines = list(zip(*row[FACTS : FACTS + 4], strict=True))
            token = token_of(self.partition, row["reservation_id"])
            keys = CallKeys(tuple(row["return_keys"]), tuple(row["extend_keys"]))
            shift_ms = -reading.shift_ms if row["state"] == "held" else 0
            records[token] = record_of(row, lines, shift_ms, keys)
        judge = Judge(self.partition, self.comparison.places)
        well = []
        for token, repair_id in tokens.items():
            verdict = judge.judge(token, reading, known.get(token), applied)
            if not verdict.final:
                continue
            before = reading.records.get(token)
            at = _ABSENT if before is None else before.position
            request = RepairReservation(
                repair_id, self.order.actor, token, at.epoch, at.sequence,
                records.get(token, False),
            )  # fmt: skip
            if verdict == SAME or await self._send(request):
                well.append(token)
        return well

    async def _buyers(self, buyers: Mapping[str, str]) -> list[str]:
        reading = await read_buyers(self.context.reader, self.partition, list(buyers))
        await self._reach(reading)
        ledger = await read_numbers(
            self.context.ledger,
            self.partition,
            self.comparison.skus,
            list(buyers),
            reading,
        )
        well = []
        for buyer, repair_id in buyers.items():
            numbers = ledger[buyer]
            stored = reading.buyers.get(buyer, b"")
            request = RepairBuyer(
                repair_id=repair_id,
                actor=self.order.actor,
                buyer_id=buyer,
                compared_sha1=sha1(stored, usedforsecurity=False).hexdigest(),
                numbers=tuple(value for pair in sorted(numbers.items()) for value in pair),
            )
            if reading.numbers.get(buyer, {}) == numbers or await self._send(request):
                well.append(buyer)
        return well

    async def _reach(self, reading: Reading) -> Position:
        """Wait until the ledger has applied what was read; returns the ledger's position."""
        if reading.position.epoch != self.comparison.position.epoch:
            raise Recovering(f"{self.partition}: a new epoch has begun")
        applied = await wait_for_ledger(
            self.context.ledger, self.partition, reading.position, self.order.ledger_wait_seconds
        )
        place = (self.partition.sale_id, self.partition.number)
        if await self.context.ledger.fetchrow(QUERIES["open_dead_letters"], *place, 1) is not None:
            raise _VoidNumber
        return applied

    async def _send(self, request: RepairRequest) -> bool:
        """Send the repair; returns whether Redis has the ledger's value now. May be repeated."""
        reply = await self._ask(request, TRIES_MAX)
        if reply.outcome in {"repaired", "already"}:
            _log.warning(
                "repaired", partition=str(self.partition), repair_id=request.repair_id,
                sequence=reply.sequence,
            )  # fmt: skip
            return True
        _log.warning(
            "repair_refused", partition=str(self.partition), repair_id=request.repair_id,
            why=reply.outcome,
        )  # fmt: skip
        return False

    async def _ask(self, request: RepairRequest, tries: int) -> RepairReply:
        epoch = self.comparison.position.epoch
        try:
            return await self.context.store.repair(
                self.partition, epoch, request, by=self.comparison.ledger
            )
        except UnknownOutcome:
            if tries <= 1:
                raise
        return await self._ask(request, tries - 1)

    def _id(self, numbers: Mapping[int, Difference] | Sequence[int]) -> str:
        return f"{self.order.reconciliation_id}:{min(numbers)}"

    def _left(self, why: str) -> None:
        _log.error("repair_interrupted", partition=str(self.partition), why=why)


def _pages(pending: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Pages of what is pending now, while entries are removed."""
    whole = list(pending.items())
    for start in range(0, len(whole), PAGE):
        yield dict(whole[start : start + PAGE])
