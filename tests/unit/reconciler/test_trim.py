"""How long an outbox keeps what the ledger has."""

from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import START
from reconciler.duties.trim import MARKS_KEPT, _Reports

KEEP_SECONDS = 60.0


def test_what_the_ledger_has_had_for_long_enough_may_go() -> None:
    reports = _Reports()
    marks = [Position(1, 10 * second) for second in range(1, 200)]
    had = [
        reports.had_before(mark, float(second), KEEP_SECONDS) for second, mark in enumerate(marks)
    ]
    assert had[:60] == [START] * 60
    assert had[60:] == marks[: len(marks) - 60]
    assert len(reports.had) <= MARKS_KEPT + 2


def test_marks_are_few_however_often_they_are_reported() -> None:
    reports = _Reports()
    for step in range(10_000):
        reports.had_before(Position(1, step), step / 100, KEEP_SECONDS)
    assert len(reports.had) <= MARKS_KEPT + 2


def test_what_an_older_ledger_gets_again_counts_anew() -> None:
    reports = _Reports()
    for second in range(100):
        reports.had_before(Position(1, second), float(second), KEEP_SECONDS)
    assert reports.had_before(Position(1, 5), 100.0, KEEP_SECONDS) == START
    assert reports.had_before(Position(1, 99), 101.0, KEEP_SECONDS) == START
    assert reports.had_before(Position(1, 99), 161.0, KEEP_SECONDS) == Position(1, 99)


def test_without_a_time_to_keep_everything_may_go_at_once() -> None:
    assert _Reports().had_before(Position(2, 7), 0.0, 0.0) == Position(2, 7)
