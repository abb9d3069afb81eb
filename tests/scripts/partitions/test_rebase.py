"""rebase: the server's clock was set back, and the partition's clock follows without going back."""

import pytest

from gateway.inventory.events import Rebase
from gateway.inventory.store import ExpireReply
from gateway.inventory.types import ReservationState
from tests.support.scripts.harness import HOUR_MS, Rig
from tests.support.scripts.sale import Ask, Sale
from tests.support.scripts.state import run

MOST_MS = 2000


def _rebase(rig: Rig, most: int = MOST_MS) -> tuple[str, int]:
    return rig.call("rebase", b"%d" % most).read(tuple[str, int])


def test_a_step_back_of_the_servers_clock_ends_the_stand_still(rig: Rig) -> None:
    rig.open(Sale(hold_ms=1000))
    held = rig.hold("a")
    time_left = held.deadline - rig.clock
    with rig.step() as step:
        outcome, ahead = _rebase(rig)
    assert outcome == "rebased"
    assert HOUR_MS - 5000 < ahead <= HOUR_MS
    assert step.moved == {}
    assert step.after.records == step.before.records
    assert step.after.deadlines == step.before.deadlines
    meta = step.after.meta
    assert meta.last_time == step.before.meta.last_time - ahead
    assert meta.last_time - meta.shift == step.before.meta.last_time - step.before.meta.shift
    assert step.events == (
        Rebase(**rig.numbered(4), shift_ms=-ahead),  # type: ignore[arg-type]
    )
    (after,) = rig.read("a")
    assert after is not None
    assert after.deadline == held.deadline - ahead == meta.last_time + time_left
    assert rig.expire_reply(1)[2] == after.deadline


def test_a_hold_made_before_it_runs_out_by_the_servers_clock(rig: Rig) -> None:
    rig.open(Sale(hold_ms=50))
    rig.hold("a")
    _rebase(rig)
    while rig.expire_reply(10)[0] == 0:
        pass  # 50 ms at most, by TIME
    (found,) = rig.read("a")
    assert found is not None
    assert found.state == ReservationState.EXPIRED


def test_what_was_over_stays_over(rig: Rig) -> None:
    rig.open(Sale())
    deadline = rig.hold("a").deadline
    rig.hold("b")
    rig.set_clock(deadline)
    assert rig.confirm("a").outcome == "hold_expired"
    _rebase(rig)
    assert rig.confirm("a").outcome == "hold_expired"
    assert rig.confirm("b").outcome == "hold_expired", "due before the step, and due after it"


@pytest.mark.parametrize("most", [HOUR_MS + 1000, 10**9])
def test_a_small_difference_is_left_alone(rig: Rig, most: int) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert _rebase(rig, most)[0] == "in_step"


def test_a_clock_in_step_is_left_alone(rig: Rig) -> None:
    rig.load(Sale())
    with rig.unchanged():
        assert _rebase(rig, 0) == ("in_step", 0)


def test_the_sweep_says_how_far_ahead_the_clock_is(rig: Rig) -> None:
    rig.open(Sale())
    assert HOUR_MS - 5000 < rig.call("expire", b"1").read(ExpireReply).ahead_ms <= HOUR_MS
    _rebase(rig)
    assert rig.call("expire", b"1").read(ExpireReply).ahead_ms <= 1


def test_a_buyer_at_the_rate_limit_waits_no_longer_than_a_window(rig: Rig) -> None:
    rig.open(Sale(rate=(1, 1000)))
    first, second = rig.reserve(Ask("a", metered=True), Ask("b", metered=True))
    assert (first.outcome, second.outcome) == ("accepted", "rate_limited")
    _rebase(rig)
    (reply,) = rig.reserve(Ask("c", metered=True))
    assert reply.outcome == "accepted" or (isinstance(reply.detail, int) and reply.detail <= 1000)


@pytest.mark.parametrize("most", [b"", b"-1", b"1.5", b"x", b"1e3"])
def test_malformed(rig: Rig, most: bytes) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.call("rebase", most).status == "malformed"


def test_twice_is_once(rig: Rig) -> None:
    rig.open(Sale())
    assert _rebase(rig)[0] == "rebased"
    sequence = rig.snapshot().sequence
    assert _rebase(rig)[0] == "in_step"
    assert int(run(rig.client, "HGET", rig.keys[0], "sequence")) == sequence
