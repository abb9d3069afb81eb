"""reserve: (nothing) → held."""

from gateway.inventory.events import EventLine, Reserve
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.types import PlacedLines, Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import Buyer, StoredRecord

DEFAULT = ("tee", "default")
HELD = ReservationState.HELD


def test_takes_the_units_and_says_so(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee"), Item("cap", stock=(("paris", 5),), unit_price=900))))
    with rig.step() as step:
        answer = rig.call(
            "reserve", rig.pack_asks(Ask("a", lines=(("tee", 2), ("cap", 1)), fingerprint="f-9"))
        )

    deadline = rig.clock + 600_000
    lines = (1, 2, 2, 1)
    assert (answer.status, answer.detail, answer.wall_ms, answer.shift_ms) == (
        "ok",
        1,
        rig.clock,
        0,
    )
    assert answer.read(tuple[ReserveReply, ...]) == (
        ReserveReply(
            number=0,
            outcome="accepted",
            detail=Reservation(
                token("a"), HELD, 1, 3, 1, 3, deadline, 0, "ann", "f-9", PlacedLines(lines)
            ),
        ),
    )
    assert step.moved == {
        DEFAULT: {"available": -2, "held": 2},
        ("cap", "paris"): {"available": -1, "held": 1},
    }
    assert step.after.records == {
        token("a"): StoredRecord(HELD, 1, 3, 1, 3, deadline, 0, "ann", "f-9", lines)
    }
    assert step.after.buyers == {"ann": Buyer(counts={1: 2, 2: 1}, holds=(token("a"),))}
    assert step.after.deadlines == {token("a"): deadline}
    assert step.after.meta.sequence == 3
    assert step.events == (
        Reserve(
            **rig.numbered(3),  # type: ignore[arg-type]
            reservation_id="drop.0." + token("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "default", 2, 2500), EventLine("cap", "paris", 1, 900)),
            fingerprint="f-9",
            deadline=deadline,
        ),
    )


def test_names_that_need_escaping_reach_the_event_whole(rig: Rig) -> None:
    rig.open(Sale())
    buyer = 'Zoë "Z" \\ </script> \U0001f6d2 %s'
    with rig.step() as step:
        rig.hold("a", buyer=buyer)
    (event,) = step.events
    assert isinstance(event, Reserve)
    assert event.buyer_id == buyer
    assert set(step.after.buyers) == {buyer}


def test_the_clock_is_the_servers(rig: Rig) -> None:
    rig.load(Sale())
    rig.set_state("open")
    before = rig.time_ms()
    answer = rig.call("reserve", rig.pack_asks(Ask("a")))
    assert before <= answer.wall_ms <= rig.time_ms()
    assert rig.state().meta.last_time == answer.wall_ms


class TestLines:
    def test_of_one_sku_are_summed_against_stock(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 3),)),)))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", lines=(("tee", 2), ("tee", 2))))
        assert reply == ReserveReply(0, "sold_out", 1, ())

    def test_of_one_sku_are_summed_against_the_limit(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", limit=3),)))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", lines=(("tee", 2), ("tee", 2))))
        assert reply == ReserveReply(0, "limit_exceeded", 1, 3, ())

    def test_of_one_sku_are_one_line_of_the_reservation(self, rig: Rig) -> None:
        rig.open(Sale())
        with rig.step() as step:
            assert rig.hold("a", lines=(("tee", 2), ("tee", 3))).lines == (1, 5)
        assert step.moved == {DEFAULT: {"available": -5, "held": 5}}

    def test_all_or_none(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee"), Item("cap", stock=(("default", 0),)))))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", lines=(("tee", 1), ("cap", 1))))
        assert reply == ReserveReply(0, "sold_out", 2, ())


class TestFloor:
    def test_positive_is_safety_stock(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", floor=3),)))
        rig.hold("a", lines=(("tee", 7),))
        with rig.unchanged():
            assert rig.reserve(Ask("b", "bob")) == (ReserveReply(0, "sold_out", 1, ()),)

    def test_zero_is_the_last_unit(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("a", lines=(("tee", 10),))
        with rig.unchanged():
            assert rig.reserve(Ask("b", "bob")) == (ReserveReply(0, "sold_out", 1, ()),)

    def test_negative_is_overbooking_to_that_depth(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", floor=-2, limit=20),)))
        with rig.step() as step:
            rig.hold("a", lines=(("tee", 12),))
        assert step.after.stock[DEFAULT].available == -2
        with rig.unchanged():
            assert rig.reserve(Ask("b", "bob")) == (ReserveReply(0, "sold_out", 1, ()),)

    def test_positive_holds_for_the_sum_of_the_locations(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("paris", 2), ("lyon", 2)), floor=1),)))
        assert rig.hold("a", lines=(("tee", 2, "paris"),)).lines == (1, 2)
        assert rig.hold("b", lines=(("tee", 1, "lyon"),)).lines == (2, 1)
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("c", "bob", (("tee", 1, "lyon"),)))
        assert reply == ReserveReply(0, "sold_out", 1, ())

    def test_negative_goes_for_each_location_and_for_the_sum(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("paris", 0), ("lyon", 0)), floor=-2),)))
        rig.hold("a", lines=(("tee", 1, "paris"),))
        rig.hold("b", lines=(("tee", 1, "lyon"),))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("c", "bob", (("tee", 1, "lyon"),)))
        assert reply == ReserveReply(0, "sold_out", 1, ())


class TestLimit:
    def test_counts_held_and_sold(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", limit=3),)))
        rig.hold("a", lines=(("tee", 2),))
        rig.confirm("a")
        held = rig.hold("b")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("c"))
        assert reply == ReserveReply(0, "limit_exceeded", 1, 3, (held,))

    def test_is_each_buyers_own(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", limit=1),)))
        rig.hold("a")
        rig.hold("b", buyer="bob")
        assert rig.state().buyers["bob"] == Buyer(counts={1: 1}, holds=(token("b"),))

    def test_is_each_items_own(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", limit=1), Item("cap", limit=1))))
        rig.hold("a")
        rig.hold("b", lines=(("cap", 1),))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("c", lines=(("cap", 1),)))
        assert (reply.outcome, reply.detail, reply.more) == ("limit_exceeded", 2, 1)

    def test_shows_the_last_eight_own_holds_and_no_ones_elses(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("x", buyer="bob")
        held = [rig.hold(f"h{n}") for n in range(9)]
        rig.confirm("h8")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("b", lines=(("tee", 5),)))
        assert reply == ReserveReply(0, "limit_exceeded", 1, 10, tuple(held[:8]))

    def test_a_due_hold_of_ones_own_is_not_in_the_way(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", limit=1, stock=(("default", 2),)),)))
        deadline = rig.hold("a").deadline
        rig.set_clock(deadline - 1)
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("b"))
        assert reply.outcome == "limit_exceeded"
        rig.set_clock(deadline)
        with rig.step() as step:
            rig.hold("b")
        assert [type(event).__name__ for event in step.events] == ["Expire", "Reserve"]
        assert step.moved == {}
        assert step.after.buyers == {"ann": Buyer({1: 1}, (token("b"),), given_back=1)}


class TestSoldOut:
    def test_shows_own_holds(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 2),)),)))
        rig.hold("x", buyer="bob")
        held = rig.hold("a")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("b"))
        assert reply == ReserveReply(0, "sold_out", 1, (held,))

    def test_a_refusal_does_not_bind_the_key(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 1),)),)))
        rig.hold("a")
        (refused,) = rig.reserve(Ask("b", "bob", fingerprint="order-1"))
        assert refused.outcome == "sold_out"
        rig.cancel("a")
        (accepted,) = rig.reserve(Ask("b", "bob", fingerprint="order-2"))
        assert accepted.outcome == "accepted"
