"""recover: the server at hand is trusted from a new epoch on, if its history is the ledger's."""

import pytest

from gateway.inventory.events import Position, Recover
from gateway.inventory.types import ClosedEpoch, ReservationState
from tests.support.scripts.harness import RUN_ID, Rig
from tests.support.scripts.sale import Sale, token
from tests.support.scripts.state import run

NEXT_RUN = "b" * 40


def _words(rig: Rig, run_id: str, epoch: int, closed: Position, alive_at: int = 0) -> str:
    return rig.recover(run_id, epoch, closed, alive_at).read(tuple[str])[0]


def test_trusts_the_next_run_under_the_next_epoch(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.trim(2)
    with rig.step() as step:
        assert _words(rig, NEXT_RUN, 2, Position(1, 3)) == "recovered"
    meta = step.after.meta
    assert (meta.run_id, meta.epoch, meta.sequence) == (NEXT_RUN, 2, 1)
    assert (meta.ledger_sequence, meta.state, meta.shift) == (0, "open", 0)
    assert step.after.records == step.before.records
    assert step.after.buyers == step.before.buyers
    assert step.after.deadlines == step.before.deadlines
    assert step.moved == {}
    assert step.events == (
        Recover(
            **rig.numbered(1, epoch=2),  # type: ignore[arg-type]
            previous=Position(1, 3),
            shift_ms=0,
            restored=False,
        ),
    )


def test_the_old_run_and_the_old_epoch_are_fenced_from_then_on(rig: Rig) -> None:
    rig.open(Sale())
    _words(rig, NEXT_RUN, 7, Position(1, 2))
    request = rig.pack_asks()
    with rig.unchanged():
        assert rig.raw("reserve", RUN_ID.encode(), b"1", request).status == "fenced"
        assert rig.raw("reserve", RUN_ID.encode(), b"7", request).status == "fenced"
        assert rig.raw("reserve", NEXT_RUN.encode(), b"1", request).status == "fenced"
    rig.run_id, rig.epoch = NEXT_RUN, 7
    with rig.step() as step:
        rig.hold("a")
    assert step.after.records[token("a")].accepted_epoch == 7
    assert step.after.records[token("a")].accepted_sequence == 2


def test_the_clock_stands_still_during_the_outage(rig: Rig) -> None:
    rig.open(Sale())
    held = rig.hold("a")
    time_left = held.deadline - rig.clock
    stopped_at = rig.time_ms() - 50_000
    run(rig.client, "HINCRBY", rig.keys[0], "shift", stopped_at - rig.clock)
    rig.set_clock(stopped_at)

    with rig.step() as step:
        answer = rig.recover(NEXT_RUN, 2, Position(1, 3), 0)
    outage = int(answer.wall_ms) - stopped_at
    assert outage >= 50_000
    (event,) = step.events
    assert isinstance(event, Recover)
    assert event.shift_ms == outage
    assert step.after.meta.shift == step.before.meta.shift + outage
    assert step.after.meta.last_time == answer.wall_ms
    assert answer.shift_ms == step.after.meta.shift
    rig.run_id, rig.epoch = NEXT_RUN, 2
    (after,) = rig.read("a")
    assert after is not None
    assert after.deadline == int(answer.wall_ms) + time_left


def test_an_outage_moves_the_deadlines_of_holds_alone(rig: Rig) -> None:
    rig.open(Sale())
    names = ("confirmed", "cancelled", "expired", "held")
    for name in names:
        rig.hold(name)
    rig.confirm("confirmed")
    rig.cancel("cancelled")
    rig.extend("held", 100_000)
    rig.advance(600_000)
    before = rig.read(*names)
    stopped_at = rig.time_ms() - 50_000
    run(rig.client, "HINCRBY", rig.keys[0], "shift", stopped_at - rig.clock)
    rig.set_clock(stopped_at)
    last = rig.state().meta
    answer = rig.recover(NEXT_RUN, 2, Position(1, last.sequence), 0)
    outage = answer.shift_ms - last.shift
    assert outage >= 50_000
    rig.run_id, rig.epoch = NEXT_RUN, 2
    moved = [
        after.deadline - was.deadline - (last.shift if was.state == ReservationState.HELD else 0)
        for was, after in zip(before, rig.read(*names), strict=True)
        if was and after
    ]
    assert moved == [0, 0, 0, outage]


def test_the_outage_begins_when_the_partition_was_last_alive(rig: Rig) -> None:
    rig.load(Sale())
    alive_at = rig.time_ms() - 10
    rig.set_clock(alive_at - 20_000)
    answer = rig.recover(NEXT_RUN, 2, Position(1, 1), alive_at)
    (*_, event) = rig.state().events
    assert isinstance(event, Recover)
    assert event.shift_ms == int(answer.wall_ms) - alive_at


def test_a_clock_ahead_of_the_server_is_no_outage(rig: Rig) -> None:
    rig.open(Sale())
    _words(rig, NEXT_RUN, 2, Position(1, 2), alive_at=rig.clock + 10_000)
    (*_, event) = rig.state().events
    assert isinstance(event, Recover)
    assert event.shift_ms == 0


@pytest.mark.parametrize("closed", [Position(1, 2), Position(1, 4), Position(1, 0)])
def test_another_history_differs(rig: Rig, closed: Position) -> None:
    rig.open(Sale())
    rig.hold("a")
    with rig.unchanged():
        assert _words(rig, NEXT_RUN, 9, closed) == "differs"


def test_another_epoch_differs(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    with rig.unchanged():
        assert _words(rig, NEXT_RUN, 9, Position(2, 3)) == "differs"


def test_an_outbox_that_ends_elsewhere_than_the_counters_differs(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    run(rig.client, "XADD", rig.keys[5], "1-4", "event", "{}")
    with rig.unchanged():
        assert _words(rig, NEXT_RUN, 2, Position(1, 3)) == "differs"


def test_is_done_once_for_an_epoch(rig: Rig) -> None:
    rig.open(Sale())
    _words(rig, NEXT_RUN, 2, Position(1, 2))
    with rig.unchanged():
        assert _words(rig, NEXT_RUN, 2, Position(1, 2)) == "already"
        assert _words(rig, "c" * 40, 2, Position(1, 2)) == "differs"


def test_an_older_recovery_comes_too_late(rig: Rig) -> None:
    rig.open(Sale())
    _words(rig, NEXT_RUN, 3, Position(1, 2))
    with rig.unchanged():
        assert _words(rig, RUN_ID, 2, Position(1, 2)) == "newer"


def test_again_and_again(rig: Rig) -> None:
    rig.open(Sale())
    for epoch in range(2, 6):
        rig.epoch = epoch - 1
        closed = rig.state().meta
        assert _words(rig, RUN_ID, epoch, Position(closed.epoch, closed.sequence)) == "recovered"
        rig.epoch = epoch
        rig.hold(f"h{epoch}")
    assert rig.trim(2)[1] == 2
    assert [event.position for event in rig.state().events] == [Position(5, 2)]


def test_remembers_the_epochs_that_the_ledger_has_closed(rig: Rig) -> None:
    rig.open(Sale())
    assert rig.state().meta.closed_epochs == ()
    first = ClosedEpoch(1, 2, "00ff", 2)
    for epoch, closed in ((2, (first,)), (5, (first, ClosedEpoch(2, 1, "", 5)))):
        rig.epoch = epoch - 1
        last = rig.state().meta
        request = rig.pack((last.epoch, last.sequence, 0, closed))
        answer = rig.raw("recover", RUN_ID.encode(), b"%d" % epoch, request)
        assert answer.read(tuple[str]) == ("recovered",)
        assert rig.state().meta.closed_epochs == closed


@pytest.mark.parametrize(
    "closed",
    [
        "x",
        ["x"],
        [(0, 2, "", 1)],
        [(1, -1, "", 2)],
        [(1, 2, None, 2)],
        [(1, 2, "not hex!", 2)],
        [(1, 2, "", 1)],
        [(epoch, 1, "", epoch + 1) for epoch in range(1, 66)],
    ],
)
def test_closed_epochs_that_are_none(rig: Rig, closed: object) -> None:
    rig.open(Sale())
    with rig.unchanged():
        request = rig.pack((1, 2, 0, closed))
        assert rig.raw("recover", RUN_ID.encode(), b"2", request).status == "malformed"
