"""cancel: held → cancelled."""

import pytest

from gateway.inventory.events import Cancel, EventLine, Expire
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Item, Sale, token
from tests.support.scripts.state import Buyer, StoredRecord

CANCELLED = ReservationState.CANCELLED


def test_every_unit_returns(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee"), Item("cap", unit_price=900))))
    held = rig.hold("a", (("tee", 2), ("cap", 1)))
    with rig.step() as step:
        reply = rig.cancel("a", actor="support")
    lines = PlacedLines((1, 2, 2, 1))
    told = Reservation(token("a"), CANCELLED, 1, 4, 1, 3, held.deadline, 0, "ann", "order-1", lines)
    assert reply == EdgeReply("cancelled", told)
    assert step.moved == {
        ("tee", "default"): {"available": 2, "held": -2},
        ("cap", "default"): {"available": 1, "held": -1},
    }
    assert step.after.records == {
        token("a"): StoredRecord(CANCELLED, 1, 4, 1, 3, held.deadline, 0, "ann", "order-1", lines)
    }
    assert step.after.buyers == {"ann": Buyer({}, given_back=1)}
    assert step.after.deadlines == {}
    assert step.events == (
        Cancel(
            **rig.numbered(4),  # type: ignore[arg-type]
            reservation_id=rig.reservation_id("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "default", 2, 2500), EventLine("cap", "default", 1, 900)),
            actor="support",
        ),
    )


def test_again_returns_nothing_twice(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    first = rig.cancel("a")
    rig.advance(600_000)
    with rig.unchanged():
        assert rig.cancel("a", actor="ops") == EdgeReply("replayed", first.reservation)


def test_only_its_own_hold_is_forgotten(rig: Rig) -> None:
    rig.open(Sale())
    for name in ("a", "b", "c"):
        rig.hold(name)
    rig.cancel("b")
    state = rig.state()
    assert state.buyers["ann"].holds == (token("a"), token("c"))
    assert state.buyers["ann"].counts == {1: 2}


def test_a_confirmed_one_is_already_resolved(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    confirmed = rig.confirm("a")
    with rig.unchanged():
        assert rig.cancel("a") == EdgeReply("already_resolved", confirmed.reservation)


@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_one_is_hold_expired_swept_or_not(rig: Rig, swept: bool) -> None:
    rig.open(Sale())
    deadline = rig.hold("a").deadline
    rig.set_clock(deadline)
    if swept:
        rig.expire()
    with rig.step() as step:
        reply = rig.cancel("a")
    assert reply.outcome == "hold_expired"
    assert reply.reservation is not None
    assert reply.reservation.state == ReservationState.EXPIRED
    assert [type(event) for event in step.events] == ([] if swept else [Expire])
    with rig.unchanged():
        assert rig.cancel("a") == reply


def test_just_before_the_deadline(rig: Rig) -> None:
    rig.open(Sale())
    rig.set_clock(rig.hold("a").deadline - 1)
    assert rig.cancel("a").outcome == "cancelled"


def test_unknown(rig: Rig) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.cancel("a") == EdgeReply("unknown")


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_paused_or_closed_sale_still_cancels(rig: Rig, state: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.set_state(state)
    assert rig.cancel("a").outcome == "cancelled"
