"""expire: held → expired, for the holds that are due."""

import pytest

from gateway.inventory.events import EventLine, Expire
from gateway.inventory.types import ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Item, Sale, token
from tests.support.scripts.state import Buyer, StoredRecord

EXPIRED = ReservationState.EXPIRED


def test_at_the_deadline_and_not_before(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("paris", 1), ("lyon", 4))),)))
    held = rig.hold("a", (("tee", 2),))
    rig.set_clock(held.deadline - 1)
    with rig.unchanged():
        assert rig.expire() == (0, 0, held.deadline)
    rig.set_clock(held.deadline)
    with rig.step() as step:
        assert rig.expire() == (1, 0, 0)
    assert step.moved == {("tee", "lyon"): {"available": 2, "held": -2}}
    assert step.after.records == {
        token("a"): StoredRecord(EXPIRED, 1, 4, 1, 3, held.deadline, 0, "ann", "order-1", (2, 2))
    }
    assert step.after.buyers == {"ann": Buyer({}, given_back=1)}
    assert step.after.deadlines == {}
    assert step.events == (
        Expire(
            **rig.numbered(4),  # type: ignore[arg-type]
            reservation_id=rig.reservation_id("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "lyon", 2, 2500),),
        ),
    )


def test_is_bounded_and_takes_the_oldest_first(rig: Rig) -> None:
    rig.open(Sale())
    deadlines = []
    for name in ("c", "a", "b"):
        deadlines.append(rig.hold(name).deadline)
        rig.advance(10)
    rig.set_clock(deadlines[2])
    with rig.step() as step:
        assert rig.expire(2) == (2, 1, deadlines[2])
    assert set(step.after.deadlines) == {token("b")}
    assert [event.sequence for event in step.events] == [6, 7]
    assert rig.expire(2) == (1, 0, 0)
    with rig.unchanged():
        assert rig.expire(2) == (0, 0, 0)


def test_leaves_the_resolved_and_the_extended_alone(rig: Rig) -> None:
    rig.open(Sale())
    for name in ("a", "b", "c", "d"):
        rig.hold(name)
    rig.confirm("a")
    rig.cancel("b")
    extended = rig.extend("c", 1000).reservation
    assert extended is not None
    rig.advance(600_000)
    with rig.step() as step:
        assert rig.expire() == (1, 0, extended.deadline)
    assert step.moved == {("tee", "default"): {"available": 1, "held": -1}}
    assert step.after.records[token("d")].state == EXPIRED


def test_a_thousand_in_one_call(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 1200),), limit=2000),), outbox_bound=5000))
    for n in range(1200):
        rig.hold(f"h{n}", buyer=f"buyer-{n % 7}")
    rig.advance(600_000)
    with rig.step() as step:
        expired, still_due, _ = rig.expire(1000)
    assert (expired, still_due) == (1000, 200)
    assert step.moved == {("tee", "default"): {"available": 1000, "held": -1000}}
    assert len(step.events) == 1000


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_paused_or_closed_sale_still_expires(rig: Rig, state: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.set_state(state)
    rig.advance(600_000)
    assert rig.expire() == (1, 0, 0)
