"""confirm: held → confirmed, whole or in part."""

import pytest

from gateway.inventory.events import Confirm, EventLine, Expire
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Item, Lines, Sale, token
from tests.support.scripts.state import Buyer, StoredRecord

CONFIRMED = ReservationState.CONFIRMED
DEFAULT = ("tee", "default")


def test_whole(rig: Rig) -> None:
    rig.open(Sale())
    held = rig.hold("a", (("tee", 2),))
    with rig.step() as step:
        reply = rig.confirm("a", "pay-7")
    lines = PlacedLines((1, 2))
    told = Reservation(
        token("a"), CONFIRMED, 1, 4, 1, 3, held.deadline, 0, "ann", "order-1", lines, "pay-7"
    )
    assert reply == EdgeReply("confirmed", told)
    assert step.moved == {DEFAULT: {"held": -2, "sold": 2}}
    assert step.after.records == {
        token("a"): StoredRecord(
            CONFIRMED, 1, 4, 1, 3, held.deadline, 0, "ann", "order-1", (1, 2), "pay-7"
        )
    }
    assert step.after.buyers == {"ann": Buyer(counts={1: 2})}
    assert step.after.deadlines == {}
    assert step.events == (
        Confirm(
            **rig.numbered(4),  # type: ignore[arg-type]
            reservation_id=rig.reservation_id("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "default", 2, 2500),),
            released=(),
            payment_reference="pay-7",
        ),
    )


PLACES = Sale(
    items=(Item("tee", stock=(("paris", 3), ("lyon", 5))), Item("cap", unit_price=900)), split=True
)


def test_a_part_and_the_rest_returns_in_the_same_step(rig: Rig) -> None:
    rig.open(PLACES)
    rig.hold("a", (("tee", 5), ("cap", 2)))
    with rig.step() as step:
        reply = rig.confirm("a", lines=(("tee", 1, "lyon"), ("cap", 2)))
    assert reply.reservation is not None
    assert reply.reservation.lines == (2, 1, 3, 2)
    assert step.moved == {
        ("tee", "lyon"): {"available": 4, "held": -5, "sold": 1},
        ("cap", "default"): {"held": -2, "sold": 2},
    }
    assert step.after.buyers == {"ann": Buyer(counts={1: 1, 2: 2})}
    (event,) = step.events
    assert isinstance(event, Confirm)
    assert event.lines == (EventLine("tee", "lyon", 1, 2500), EventLine("cap", "default", 2, 900))
    assert event.released == (EventLine("tee", "lyon", 4, 2500),)


@pytest.mark.parametrize(
    ("lines", "sold"),
    [
        ((("tee", 4),), {"paris": 3, "lyon": 1}),
        ((("tee", 2), ("tee", 1)), {"paris": 3}),
        ((("tee", 1), ("tee", 3, "lyon")), {"paris": 1, "lyon": 3}),
        ((("tee", 3), ("tee", 3, "paris")), {"paris": 3, "lyon": 3}),
    ],
)
def test_a_part_of_a_split_line(rig: Rig, lines: Lines, sold: dict[str, int]) -> None:
    rig.open(PLACES)
    rig.hold("a", (("tee", 3, "paris"), ("tee", 3, "lyon")))
    with rig.step() as step:
        assert rig.confirm("a", lines=lines).outcome == "confirmed"
    moved = {place: counters.get("sold", 0) for (_, place), counters in step.moved.items()}
    assert {place: units for place, units in moved.items() if units} == sold


@pytest.mark.parametrize(
    "lines",
    [
        (("tee", 3),),
        (("tee", 1), ("tee", 2)),
        (("cap", 1),),
        (("tee", 1, "lyon"),),
        (("tee", 2), ("cap", 1)),
    ],
)
def test_more_than_is_held_is_not_reserved(rig: Rig, lines: Lines) -> None:
    rig.open(PLACES)
    held = rig.hold("a", (("tee", 2, "paris"),))
    with rig.unchanged():
        assert rig.confirm("a", lines=lines) == EdgeReply("not_reserved", held)


def test_the_same_payment_again_is_answered_as_the_first_time(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a", (("tee", 2),))
    first = rig.confirm("a", "pay-7", (("tee", 1),))
    rig.advance(600_000)
    with rig.unchanged():
        assert rig.confirm("a", "pay-7") == EdgeReply("replayed", first.reservation)


def test_another_payment_is_already_resolved(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    first = rig.confirm("a", "pay-7")
    with rig.unchanged():
        assert rig.confirm("a", "pay-8") == EdgeReply("already_resolved", first.reservation)


def test_a_cancelled_one_is_already_resolved(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    cancelled = rig.cancel("a")
    with rig.unchanged():
        assert rig.confirm("a") == EdgeReply("already_resolved", cancelled.reservation)


def test_until_the_deadline_and_never_after(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    deadline = rig.hold("b").deadline
    rig.set_clock(deadline - 1)
    assert rig.confirm("a").outcome == "confirmed"
    rig.set_clock(deadline)
    with rig.step() as step:
        reply = rig.confirm("b")
    assert reply.outcome == "hold_expired"
    assert reply.reservation is not None
    assert reply.reservation.state == ReservationState.EXPIRED
    assert [type(event) for event in step.events] == [Expire]
    assert step.moved == {DEFAULT: {"available": 1, "held": -1}}
    with rig.unchanged():
        assert rig.confirm("b") == reply


def test_a_swept_one_is_hold_expired(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.advance(600_000)
    assert rig.expire()[0] == 1
    with rig.unchanged():
        assert rig.confirm("a").outcome == "hold_expired"


def test_unknown(rig: Rig) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.confirm("a") == EdgeReply("unknown")


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_paused_or_closed_sale_still_confirms(rig: Rig, state: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.set_state(state)
    assert rig.confirm("a").outcome == "confirmed"
