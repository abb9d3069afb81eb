"""return_units: confirmed → confirmed, with units given back."""

import pytest

from gateway.inventory.events import EventLine, Expire, ReturnUnits
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Item, Lines, Sale, token
from tests.support.scripts.state import StoredRecord

CONFIRMED = ReservationState.CONFIRMED
DEFAULT = ("tee", "default")


def _confirmed(rig: Rig, quantity: int = 3) -> Reservation:
    rig.open(Sale())
    rig.hold("a", (("tee", quantity),))
    reservation = rig.confirm("a").reservation
    assert reservation is not None
    return reservation


def _event(rig: Rig, sequence: int, quantity: int, *, restock: bool) -> ReturnUnits:
    return ReturnUnits(
        **rig.numbered(sequence),  # type: ignore[arg-type]
        reservation_id=rig.reservation_id("a"),
        buyer_id="ann",
        lines=(EventLine("tee", "default", quantity, 2500),),
        restock=restock,
        reason="refund",
        return_key=token("key-1"),
        fingerprint="return-1",
    )


def test_a_part_restocked(rig: Rig) -> None:
    confirmed = _confirmed(rig)
    with rig.step() as step:
        reply = rig.return_units("a", lines=(("tee", 2),))
    deadline = confirmed.deadline
    told = Reservation(
        token("a"),
        CONFIRMED,
        *(1, 5, 1, 3, deadline, 0, "ann", "order-1", PlacedLines((1, 3)), "pay-1"),
        PlacedLines((1, 2)),
    )
    assert reply == EdgeReply("returned", told)
    assert step.moved == {DEFAULT: {"available": 2, "sold": -2}}
    assert step.after.records == {
        token("a"): StoredRecord(
            CONFIRMED,
            *(1, 5, 1, 3, deadline, 0, "ann", "order-1", (1, 3), "pay-1", (1, 2)),
            return_keys=(token("key-1") + ":return-1",),
        )
    }
    assert step.after.buyers["ann"].counts == {1: 1}
    assert step.events == (_event(rig, 5, 2, restock=True),)


def test_all_of_it_written_off(rig: Rig) -> None:
    _confirmed(rig)
    with rig.step() as step:
        reply = rig.return_units("a", restock=False)
    assert reply.outcome == "returned"
    assert step.moved == {DEFAULT: {"adjusted": -3, "sold": -3}}
    assert step.after.buyers == {}
    assert step.events == (_event(rig, 5, 3, restock=False),)


def test_each_unit_at_most_once(rig: Rig) -> None:
    _confirmed(rig)
    assert rig.return_units("a", "key-1", (("tee", 2),)).outcome == "returned"
    with rig.unchanged():
        assert rig.return_units("a", "key-2", (("tee", 2),)).outcome == "not_sold"
    with rig.step() as step:
        last = rig.return_units("a", "key-2", restock=False)
    assert last.outcome == "returned"
    assert step.moved == {DEFAULT: {"adjusted": -1, "sold": -1}}
    with rig.unchanged():
        reply = rig.return_units("a", "key-3")
    assert reply == EdgeReply("not_sold", last.reservation)


def test_once_for_a_key(rig: Rig) -> None:
    _confirmed(rig)
    first = rig.return_units("a", "key-1", (("tee", 1),))
    with rig.unchanged():
        reply = rig.return_units("a", "key-1", (("tee", 1),))
    assert reply == EdgeReply("replayed", first.reservation)
    with rig.unchanged():
        reply = rig.return_units("a", "key-1", (("tee", 1),), fingerprint="return-2")
    assert reply == EdgeReply("key_reused")
    assert rig.return_units("a", "key-2", (("tee", 1),)).outcome == "returned"


@pytest.mark.parametrize("lines", [(("tee", 4),), (("tee", 2), ("tee", 2)), (("cap", 1),)])
def test_never_more_than_was_confirmed(rig: Rig, lines: Lines) -> None:
    rig.open(Sale(items=(Item("tee"), Item("cap"))))
    rig.hold("a", (("tee", 5), ("cap", 1)))
    confirmed = rig.confirm("a", lines=(("tee", 3),))
    with rig.unchanged():
        assert rig.return_units("a", lines=lines) == EdgeReply("not_sold", confirmed.reservation)


def test_by_location(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("paris", 2), ("lyon", 2))),), split=True))
    rig.hold("a", (("tee", 4),))
    rig.confirm("a")
    with rig.step() as step:
        rig.return_units("a", "key-1", (("tee", 1, "lyon"),))
    assert step.moved == {("tee", "lyon"): {"available": 1, "sold": -1}}
    with rig.step() as step:
        rig.return_units("a", "key-2")
    assert step.moved == {
        ("tee", "paris"): {"available": 2, "sold": -2},
        ("tee", "lyon"): {"available": 1, "sold": -1},
    }


def test_restocked_units_sell_again(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 1),), limit=1),)))
    rig.hold("a")
    rig.confirm("a")
    rig.return_units("a")
    rig.hold("b")


def test_a_due_hold_is_expired_before_the_answer(rig: Rig) -> None:
    rig.open(Sale())
    rig.set_clock(rig.hold("a").deadline)
    with rig.step() as step:
        reply = rig.return_units("a")
    assert reply == EdgeReply("not_confirmed", rig.read("a")[0])
    assert [type(event) for event in step.events] == [Expire]


@pytest.mark.parametrize("state", ["held", "cancelled", "expired"])
def test_only_what_is_confirmed(rig: Rig, state: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    if state == "cancelled":
        rig.cancel("a")
    elif state != "held":
        rig.advance(600_000)
    if state == "expired":
        rig.expire()
    (known,) = rig.read("a")
    with rig.unchanged():
        assert rig.return_units("a") == EdgeReply("not_confirmed", known)


def test_unknown(rig: Rig) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.return_units("a") == EdgeReply("unknown")


def test_at_most_thirty_two_returns_of_one_reservation(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 40),), limit=40),)))
    rig.hold("a", (("tee", 33),))
    rig.confirm("a")
    for n in range(32):
        assert rig.return_units("a", f"key-{n}", (("tee", 1),)).outcome == "returned"
    with rig.unchanged():
        assert rig.return_units("a", "key-32", (("tee", 1),)).outcome == "too_many"
        assert rig.return_units("a", "key-0", (("tee", 1),)).outcome == "replayed"


def test_a_closed_sale_still_takes_returns(rig: Rig) -> None:
    _confirmed(rig)
    rig.set_state("closed")
    assert rig.return_units("a").outcome == "returned"
