"""extend: held → held, with a later deadline."""

import pytest

from gateway.inventory.events import EventLine, Expire, Extend
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Sale, token
from tests.support.scripts.state import StoredRecord

HELD = ReservationState.HELD


def test_moves_the_deadline(rig: Rig) -> None:
    rig.open(Sale())
    held = rig.hold("a")
    later = held.deadline + 60_000
    with rig.step() as step:
        reply = rig.extend("a", 60_000)
    lines = PlacedLines((1, 1))
    told = Reservation(token("a"), HELD, 1, 4, 1, 3, later, 60_000, "ann", "order-1", lines)
    assert reply == EdgeReply("extended", told)
    assert step.moved == {}
    assert step.after.records == {
        token("a"): StoredRecord(HELD, 1, 4, 1, 3, later, 60_000, "ann", "order-1", (1, 1))
    }
    assert step.after.deadlines == {token("a"): later}
    assert step.after.buyers == step.before.buyers
    assert step.events == (
        Extend(
            **rig.numbered(4),  # type: ignore[arg-type]
            reservation_id=rig.reservation_id("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "default", 1, 2500),),
            deadline=later,
            extended_ms=60_000,
        ),
    )


def test_all_extensions_together_stay_within_the_allowance(rig: Rig) -> None:
    rig.open(Sale(extension_ms=100_000))
    held = rig.hold("a")
    assert rig.extend("a", 60_000).outcome == "extended"
    last = rig.extend("a", 60_000)
    assert last.outcome == "extended"
    assert last.reservation is not None
    assert last.reservation.deadline == held.deadline + 100_000
    with rig.unchanged():
        assert rig.extend("a", 1) == EdgeReply("at_cap", last.reservation)


def test_a_sale_without_an_allowance(rig: Rig) -> None:
    rig.open(Sale(extension_ms=0))
    held = rig.hold("a")
    with rig.unchanged():
        assert rig.extend("a", 1) == EdgeReply("at_cap", held)


def test_until_the_deadline_and_never_after(rig: Rig) -> None:
    rig.open(Sale())
    deadline = rig.hold("a").deadline
    rig.set_clock(deadline - 1)
    assert rig.extend("a", 1).outcome == "extended"
    rig.set_clock(deadline + 1)
    with rig.step() as step:
        assert rig.extend("a", 1).outcome == "hold_expired"
    assert [type(event) for event in step.events] == [Expire]
    with rig.unchanged():
        assert rig.extend("a", 1).outcome == "hold_expired"


@pytest.mark.parametrize("resolve", ["confirm", "cancel"])
def test_a_resolved_one_is_already_resolved(rig: Rig, resolve: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    resolved = rig.confirm("a") if resolve == "confirm" else rig.cancel("a")
    with rig.unchanged():
        assert rig.extend("a", 1) == EdgeReply("already_resolved", resolved.reservation)


def test_unknown(rig: Rig) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.extend("a", 1) == EdgeReply("unknown")


def test_no_other_call_resets_the_deadline(rig: Rig) -> None:
    rig.open(Sale())
    held = rig.hold("a")
    rig.advance(1000)
    rig.hold("b")
    rig.cancel("b")
    rig.set_state("paused")
    assert rig.read("a") == (held,)
    assert rig.state().deadlines == {token("a"): held.deadline}
