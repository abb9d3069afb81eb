"""A reservation in Redis beside itself in the ledger: equal, different, or not decided yet.

Pure: no server is asked. Both sides carry the number of the reservation's last event. Their fields
are compared only where the numbers are equal; unequal numbers are judged by what the ledger had
applied when it was read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg
import msgspec

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, ReservationId
from gateway.inventory.types import ReservationState, StoredRecord
from reconciler.comparing.differences import Difference, Kind
from reconciler.comparing.reading import Reading

Place = tuple[str, str]  # sku, location
_lines = msgspec.json.Decoder(tuple[tuple[str, str, int, int, int], ...])


@dataclass(frozen=True, slots=True)
class LedgerReservation:
    """A row of `reservations` with its lines; `units` as Redis keeps them for its state."""

    token: str
    buyer_id: str
    state: ReservationState
    fingerprint: str
    deadline_ms: int
    extended_ms: int
    payment_reference: str | None
    accepted: Position
    last: Position
    units: Mapping[Place, int]
    returned: Mapping[Place, int]

    @classmethod
    def of(cls, row: asyncpg.Record) -> "LedgerReservation":
        """From a row of `reservations_by_id`."""
        lines = _lines.decode(row["lines"] or "[]")
        state = ReservationState[row["state"].upper()]
        confirmed = state is ReservationState.CONFIRMED
        units = {(sku, at): part if confirmed else whole for sku, at, whole, part, _ in lines}
        return cls(
            token=row["reservation_id"].rpartition(".")[2],
            buyer_id=row["buyer_id"],
            state=state,
            fingerprint=row["fingerprint"],
            deadline_ms=row["deadline_ms"],
            extended_ms=row["extended_ms"],
            payment_reference=row["payment_reference"],
            accepted=Position(row["accepted_epoch"], row["accepted_sequence"]),
            last=Position(row["last_epoch"], row["last_sequence"]),
            units={place: number for place, number in units.items() if number},
            returned={(sku, at): back for sku, at, _, _, back in lines if back},
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """`final`: nothing later can change it. A verdict that is not final asks for another look."""

    final: bool
    differences: tuple[Difference, ...] = ()


SAME = Verdict(final=True)
LOOK_AGAIN = Verdict(final=False)


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares the reservations of one partition; `accounts` in the order of their numbers."""

    partition: PartitionId
    accounts: tuple[Place, ...]

    def judge(
        self, token: str, reading: Reading, row: LedgerReservation | None, applied: Position
    ) -> Verdict:
        """`applied`: what the ledger had applied at least when `row` was read."""
        record = reading.records.get(token)
        if record is None:
            return self._absent(token, reading, row)
        if row is None:
            if applied < record.position:
                return LOOK_AGAIN
            leaked = self._differs(token, record.buyer_id, Kind.HOLD_LEAKED, "state")
            state = ReservationState(record.state).name.lower()
            return Verdict(final=True, differences=(leaked(state, None),))
        if row.last != record.position:
            if row.last > reading.position or applied < record.position:
                return LOOK_AGAIN
            kind = _kind_of(record, row)
            unequal = self._differs(token, row.buyer_id, kind, "sequence")
            redis, ledger = (f"{p.epoch}-{p.sequence}" for p in (record.position, row.last))
            return Verdict(final=True, differences=(unequal(redis, ledger),))
        found = tuple(self._fields(token, record, row, reading))
        return Verdict(final=True, differences=found)

    def _absent(self, token: str, reading: Reading, row: LedgerReservation | None) -> Verdict:
        if token in reading.unreadable:
            return self._unreadable(token, reading, row)
        if row is None:
            return SAME
        if row.accepted > reading.position:
            return LOOK_AGAIN
        missing = self._differs(token, row.buyer_id, Kind.HOLD_MISSING, "state")
        return Verdict(final=True, differences=(missing(None, row.state.name.lower()),))

    def _unreadable(self, token: str, reading: Reading, row: LedgerReservation | None) -> Verdict:
        if row is not None and row.last > reading.position:
            return LOOK_AGAIN
        kind = Kind.HOLD_LEAKED if row is None else Kind.HOLD_MISSING
        differs = self._differs(token, None if row is None else row.buyer_id, kind, "state")
        state = None if row is None else row.state.name.lower()
        return Verdict(final=True, differences=(differs("unreadable", state),))

    def _fields(
        self, token: str, record: StoredRecord, row: LedgerReservation, reading: Reading
    ) -> Iterator[Difference]:
        held = row.state is ReservationState.HELD
        pairs: list[tuple[str, object, object]] = [
            ("state", ReservationState(record.state).name.lower(), row.state.name.lower()),
            ("buyer_id", record.buyer_id, row.buyer_id),
            ("fingerprint", record.fingerprint, row.fingerprint),
            ("lines", self._named(record.lines), _shown(row.units)),
            ("returned", self._named(record.returned), _shown(row.returned)),
            ("payment_reference", record.payment_reference or None, row.payment_reference),
            ("extended_ms", record.extended_ms, row.extended_ms),
        ]
        if held:
            pairs.append(("deadline", record.deadline + reading.shift_ms, row.deadline_ms))
        for name, redis, ledger in pairs:
            if redis != ledger:
                kind = _kind_of(record, row)
                yield self._differs(token, row.buyer_id, kind, name)(redis, ledger)
        indexed = reading.deadlines.get(token)
        expected = record.deadline if record.state == ReservationState.HELD else None
        if indexed != expected:
            # A hold without an entry among the deadlines never returns; a resolved reservation
            # with an entry is work for the sweeper.
            wrong = self._differs(token, row.buyer_id, Kind.HOLD_LEAKED, "deadline_index")
            yield wrong(indexed, expected)

    def _named(self, lines: tuple[int, ...]) -> str:
        pairs = zip(lines[::2], lines[1::2], strict=True)
        return _shown({self._place(account): units for account, units in pairs})

    def _place(self, account: int) -> Place:
        if 1 <= account <= len(self.accounts):
            return self.accounts[account - 1]
        return (f"account {account}", "unknown")

    def _differs(self, token: str, buyer_id: str | None, kind: Kind, field: str) -> "_Differs":
        return _Differs(
            str(ReservationId(self.partition, token)), self.partition, buyer_id, kind, field
        )


@dataclass(frozen=True, slots=True)
class _Differs:
    reservation_id: str
    partition: PartitionId
    buyer_id: str | None
    kind: Kind
    field: str

    def __call__(self, redis: object, ledger: object) -> Difference:
        return Difference(
            partition=self.partition.number,
            kind=self.kind,
            reservation_id=self.reservation_id,
            buyer_id=self.buyer_id,
            field=self.field,
            redis_value=None if redis is None else str(redis),
            ledger_value=None if ledger is None else str(ledger),
        )


def _kind_of(record: StoredRecord, row: LedgerReservation) -> Kind:
    held_in_redis = record.state == ReservationState.HELD
    held_in_ledger = row.state is ReservationState.HELD
    if record.state == row.state or held_in_ledger:
        return Kind.UNAPPLIED
    return Kind.HOLD_LEAKED if held_in_redis else Kind.RESOLVED_TWICE


def _shown(units: Mapping[Place, int]) -> str:
    return " ".join(f"{sku}@{at}:{number}" for (sku, at), number in sorted(units.items()))
