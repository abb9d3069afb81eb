"""One reservation on both sides: judged equal, different, or undecided."""

import pytest

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import PlacedLines, ReservationState, StoredRecord
from reconciler.comparing.judging import LOOK_AGAIN, SAME, Judge, LedgerReservation, Verdict
from reconciler.comparing.reading import Reading

TOKEN = "a" * 22
NOW = Position(1, 50)
JUDGE = Judge(PartitionId("sale", 0), (("shirt", "north"), ("shirt", "south")))


def record(sequence: int = 10, state: ReservationState = ReservationState.HELD) -> StoredRecord:
    return StoredRecord(
        state=state, epoch=1, sequence=sequence, accepted_epoch=1, accepted_sequence=5,
        deadline=1000, extended_ms=0, buyer_id="buyer", fingerprint="print",
        lines=PlacedLines((1, 2, 2, 1)),
    )  # fmt: skip


def row(sequence: int = 10, state: ReservationState = ReservationState.HELD) -> LedgerReservation:
    return LedgerReservation(
        token=TOKEN, buyer_id="buyer", state=state, fingerprint="print", deadline_ms=1300,
        extended_ms=0, payment_reference=None, accepted=Position(1, 5),
        last=Position(1, sequence), units={("shirt", "north"): 2, ("shirt", "south"): 1},
        returned={},
    )  # fmt: skip


def reading(stored: StoredRecord | None, position: Position = NOW) -> Reading:
    held = stored is not None and stored.state == ReservationState.HELD
    return Reading(
        position,
        shift_ms=300,
        records={TOKEN: stored} if stored else {},
        deadlines={TOKEN: 1000.0} if held else {},
    )


def judged(
    stored: StoredRecord | None, ledger: LedgerReservation | None, applied: Position = NOW
) -> Verdict:
    return JUDGE.judge(TOKEN, reading(stored), ledger, applied)


def test_the_same_on_both_sides_is_the_same() -> None:
    assert judged(record(), row()) == SAME
    assert judged(None, None) == SAME


def test_a_ledger_that_has_not_applied_the_record_yet_is_asked_again() -> None:
    assert judged(record(), None, applied=Position(1, 9)) == LOOK_AGAIN
    assert judged(record(sequence=10), row(sequence=5), applied=Position(1, 9)) == LOOK_AGAIN


def test_a_ledger_that_is_further_than_the_reading_is_asked_again() -> None:
    assert judged(record(), row(sequence=51), applied=Position(1, 60)) == LOOK_AGAIN
    newly_accepted = LedgerReservation(
        token=TOKEN, buyer_id="buyer", state=ReservationState.HELD, fingerprint="print",
        deadline_ms=1300, extended_ms=0, payment_reference=None, accepted=Position(1, 51),
        last=Position(1, 51), units={}, returned={},
    )  # fmt: skip
    assert judged(None, newly_accepted, applied=Position(1, 60)) == LOOK_AGAIN


@pytest.mark.parametrize(
    ("stored", "ledger", "kind", "field"),
    [
        (None, row(), "hold_missing", "state"),
        (record(), None, "hold_leaked", "state"),
        (record(sequence=12), row(sequence=10), "unapplied", "sequence"),
        (
            record(sequence=12),
            row(sequence=10, state=ReservationState.EXPIRED),
            "hold_leaked",
            "sequence",
        ),
        (
            record(sequence=12, state=ReservationState.CANCELLED),
            row(sequence=10, state=ReservationState.EXPIRED),
            "resolved_twice",
            "sequence",
        ),
    ],
)
def test_a_difference_has_its_kind(
    stored: StoredRecord | None, ledger: LedgerReservation | None, kind: str, field: str
) -> None:
    verdict = judged(stored, ledger)
    assert verdict.final
    assert [(d.kind, d.field) for d in verdict.differences] == [(kind, field)]
    assert verdict.differences[0].reservation_id == f"sale.0.{TOKEN}"


def test_an_account_that_the_catalogue_does_not_have_is_shown_and_not_a_crash() -> None:
    stored = record()
    strange = StoredRecord(**{n: getattr(stored, n) for n in stored.__struct_fields__} | {
        "lines": (9, 1)
    })  # fmt: skip
    (found,) = judged(strange, row()).differences
    assert (found.field, found.redis_value) == ("lines", "account 9@unknown:1")
