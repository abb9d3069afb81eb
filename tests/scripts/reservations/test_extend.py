"""extend: held → held, with a later deadline."""

import msgspec
import pytest

from gateway.inventory.events import EventLine, Expire, Extend
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Sale, token
from tests.support.scripts.state import StoredRecord, run

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


def test_once_per_key(rig: Rig) -> None:
    rig.open(Sale())
    later = rig.hold("a").deadline + 60_000
    with rig.step() as step:
        made = rig.extend("a", 60_000, "k1")
    assert made.outcome == "extended"
    keys = (token("k1") + ":60000",)
    assert step.after.records[token("a")] == StoredRecord(
        *(HELD, 1, 4, 1, 3, later, 60_000, "ann", "order-1", (1, 1)), extend_keys=keys
    )
    (event,) = step.events
    assert isinstance(event, Extend)
    assert (event.extend_key, event.asked_ms) == (token("k1"), 60_000)
    with rig.unchanged():
        assert rig.extend("a", 60_000, "k1") == EdgeReply("replayed", made.reservation)
        assert rig.extend("a", 30_000, "k1") == EdgeReply("key_reused")
    assert rig.extend("a", 60_000, "k2").outcome == "extended"
    assert rig.extend("a", 60_000).outcome == "extended"
    with rig.unchanged():
        assert rig.extend("a", 60_000, "k1").outcome == "replayed"


def test_a_key_binds_what_was_asked_for_also_where_the_cap_cut_it(rig: Rig) -> None:
    rig.open(Sale(extension_ms=100))
    rig.hold("a")
    with rig.step() as step:
        assert rig.extend("a", 300, "k1").outcome == "extended"
    (event,) = step.events
    assert isinstance(event, Extend)
    assert (event.extended_ms, event.asked_ms) == (100, 300)
    with rig.unchanged():
        assert rig.extend("a", 300, "k1").outcome == "replayed"
        assert rig.extend("a", 100, "k1").outcome == "key_reused"
        assert rig.extend("a", 300, "k2").outcome == "at_cap"
        assert rig.extend("a", 100, "k2").outcome == "at_cap"  # an answer without effect binds none


@pytest.mark.parametrize("resolve", ["confirm", "cancel"])
def test_a_repeat_shows_what_became_of_the_reservation(rig: Rig, resolve: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.extend("a", 1000, "k1")
    resolved = rig.confirm("a") if resolve == "confirm" else rig.cancel("a")
    assert resolved.reservation is not None
    with rig.unchanged():
        assert rig.extend("a", 1000, "k1") == EdgeReply("replayed", resolved.reservation)
        assert rig.extend("a", 1000, "k2") == EdgeReply("already_resolved", resolved.reservation)


def test_a_repeat_after_the_deadline_writes_that_the_hold_expired(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    later = rig.extend("a", 1000, "k1").reservation
    assert later is not None
    rig.set_clock(later.deadline)
    with rig.step() as step:
        repeated = rig.extend("a", 1000, "k1")
    assert repeated.outcome == "replayed"
    assert repeated.reservation is not None
    assert repeated.reservation.state == ReservationState.EXPIRED
    assert [type(event) for event in step.events] == [Expire]
    with rig.unchanged():
        assert rig.extend("a", 1000, "k1") == repeated
        assert rig.extend("a", 1000, "k2").outcome == "hold_expired"


def test_a_reservation_keeps_32_keys(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    for number in range(32):
        assert rig.extend("a", 1, f"k{number}").outcome == "extended"
    with rig.unchanged():
        assert rig.extend("a", 1, "one-more").outcome == "too_many"
        assert rig.extend("a", 1, "k0").outcome == "replayed"
    assert rig.extend("a", 1).outcome == "extended"


def test_keys_outlive_confirmation_and_returns(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.extend("a", 1000, "k1")
    rig.confirm("a")
    assert rig.return_units("a").outcome == "returned"
    record = rig.state().records[token("a")]
    assert (record.payment_reference, record.returned) == ("pay-1", (1, 1))
    assert record.return_keys == (token("key-1") + ":return-1",)
    assert record.extend_keys == (token("k1") + ":1000",)
    with rig.unchanged():
        assert rig.extend("a", 1000, "k1").outcome == "replayed"
        assert rig.return_units("a").outcome == "replayed"


def test_a_record_grows_by_keys_alone(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")

    def places() -> int:
        packed = run(rig.client, "HGET", rig.keys[2], token("a"))
        return len(msgspec.msgpack.decode(packed, type=list[object]))

    assert places() == 10
    rig.extend("a", 1000)
    assert places() == 10
    rig.extend("a", 1000, "k1")
    assert places() == 14
