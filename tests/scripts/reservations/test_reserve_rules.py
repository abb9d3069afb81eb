"""reserve: windows, pauses, locations, the outbox bound and the sweep of due holds."""

import pytest

from gateway.inventory.events import EventLine, Expire, Reserve
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.types import ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Lines, Sale, token
from tests.support.scripts.state import Buyer

LOCATIONS = Item("tee", stock=(("paris", 3), ("lyon", 5)))
PARIS, LYON = ("tee", "paris"), ("tee", "lyon")


class TestWindow:
    def test_opens_at_the_millisecond(self, rig: Rig) -> None:
        opens_at = rig.time_ms() + 7_200_000
        rig.open(Sale(opens_at=opens_at))
        rig.set_clock(opens_at - 1)
        with rig.unchanged():
            assert rig.reserve(Ask("a")) == (ReserveReply(0, "not_open", "open"),)
        rig.set_clock(opens_at)
        rig.hold("a")

    def test_closes_at_the_millisecond(self, rig: Rig) -> None:
        closes_at = rig.time_ms() + 7_200_000
        rig.open(Sale(closes_at=closes_at))
        rig.set_clock(closes_at - 1)
        rig.hold("a")
        rig.set_clock(closes_at)
        with rig.unchanged():
            assert rig.reserve(Ask("b", "bob")) == (ReserveReply(0, "not_open", "open"),)

    @pytest.mark.parametrize("state", ["scheduled", "paused", "closed"])
    def test_only_an_open_sale_takes_reservations(self, rig: Rig, state: str) -> None:
        rig.load(Sale())
        if state != "scheduled":
            rig.set_state("open")
            rig.set_state(state)
        with rig.unchanged():
            assert rig.reserve(Ask("a")) == (ReserveReply(0, "not_open", state),)

    def test_a_paused_item_alone(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee"), Item("cap"))))
        rig.set_state("paused", "cap")
        rig.hold("a")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("b", lines=(("tee", 1), ("cap", 1))))
        assert reply == ReserveReply(0, "not_open", "item_paused", 2)
        rig.set_state("open", "cap")
        rig.hold("b", lines=(("cap", 1),))


class TestLocations:
    @pytest.mark.parametrize(
        ("lines", "taken"),
        [
            ((("tee", 3),), {PARIS: 3}),
            ((("tee", 4),), {LYON: 4}),
            ((("tee", 2, "lyon"),), {LYON: 2}),
            ((("tee", 2), ("tee", 2, "lyon")), {PARIS: 2, LYON: 2}),
            ((("tee", 3), ("tee", 2, "paris")), {PARIS: 2, LYON: 3}),
            ((("tee", 1, "paris"), ("tee", 2, "paris")), {PARIS: 3}),
        ],
    )
    def test_the_first_that_has_the_whole_line(
        self, rig: Rig, lines: Lines, taken: dict[tuple[str, str], int]
    ) -> None:
        rig.open(Sale(items=(LOCATIONS,)))
        with rig.step() as step:
            rig.hold("a", lines)
        assert step.moved == {k: {"available": -n, "held": n} for k, n in taken.items()}
        (event,) = step.events
        assert isinstance(event, Reserve)
        assert set(event.lines) == {EventLine(*k, n, 2500) for k, n in taken.items()}
        assert len(event.lines) == len(taken)

    @pytest.mark.parametrize("lines", [(("tee", 6),), (("tee", 4, "paris"),)])
    def test_a_line_is_not_split_unless_the_sale_says_so(self, rig: Rig, lines: Lines) -> None:
        rig.open(Sale(items=(LOCATIONS,)))
        with rig.unchanged():
            assert rig.reserve(Ask("a", lines=lines)) == (ReserveReply(0, "sold_out", 1, ()),)

    def test_a_split_follows_the_preference(self, rig: Rig) -> None:
        rig.open(Sale(items=(LOCATIONS,), split=True))
        with rig.step() as step:
            rig.hold("a", (("tee", 6),))
        assert step.moved == {
            PARIS: {"available": -3, "held": 3},
            LYON: {"available": -3, "held": 3},
        }

    def test_a_named_location_is_never_split(self, rig: Rig) -> None:
        rig.open(Sale(items=(LOCATIONS,), split=True))
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", lines=(("tee", 4, "paris"),)))
        assert reply.outcome == "sold_out"

    def test_of_another_item_is_malformed(self, rig: Rig) -> None:
        rig.open(Sale(items=(LOCATIONS, Item("cap"))))
        request = rig.pack([(0, token("a"), "ann", "order-1", (1, 3, 1))])
        with rig.unchanged():
            assert rig.call("reserve", request).status == "malformed"


class TestOutboxBound:
    def test_counts_events_beyond_the_ledger(self, rig: Rig) -> None:
        rig.open(Sale(outbox_bound=5))
        replies = rig.reserve(*(Ask(f"r{n}") for n in range(4)))
        assert [reply.outcome for reply in replies] == ["accepted"] * 3 + ["ledger_behind"]
        with rig.unchanged():
            assert rig.reserve(Ask("r3")) == (ReserveReply(0, "ledger_behind"),)
        rig.trim(1)
        assert rig.reserve(Ask("r3"))[0].outcome == "accepted"

    def test_what_frees_units_passes(self, rig: Rig) -> None:
        rig.open(Sale(outbox_bound=6))
        for name in ("a", "b", "c", "d"):
            rig.hold(name)
        with rig.unchanged():
            assert rig.extend("a", 1000).outcome == "ledger_behind"
            assert rig.adjust("tee", 1).outcome == "ledger_behind"
        assert rig.confirm("a").outcome == "confirmed"
        assert rig.cancel("b").outcome == "cancelled"
        assert rig.return_units("a").outcome == "returned"
        rig.advance(600_000)
        assert rig.expire()[0] == 2


class TestSweep:
    def test_the_first_reserve_at_the_deadline_gets_the_unit(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 1),)),)))
        deadline = rig.hold("a").deadline
        rig.set_clock(deadline - 1)
        with rig.unchanged():
            assert rig.reserve(Ask("b", "bob")) == (ReserveReply(0, "sold_out", 1, ()),)
        rig.set_clock(deadline)
        with rig.step() as step:
            rig.hold("b", buyer="bob")
        first, second = step.events
        assert first == Expire(
            **rig.numbered(4),  # type: ignore[arg-type]
            reservation_id=rig.reservation_id("a"),
            buyer_id="ann",
            lines=(EventLine("tee", "default", 1, 2500),),
        )
        assert isinstance(second, Reserve)
        assert step.after.records[token("a")].state == ReservationState.EXPIRED
        assert step.after.records[token("a")].sequence == 4
        assert step.after.buyers["ann"] == Buyer({}, given_back=1)

    def test_nothing_is_swept_while_there_is_stock(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("a")
        rig.advance(600_000)
        with rig.step() as step:
            rig.hold("b", buyer="bob")
        assert len(step.events) == 1

    def test_at_its_bound_the_answer_is_overloaded_and_never_sold_out(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 6),)),), sweep_bound=2))
        for n in range(6):
            rig.hold(f"h{n}", buyer=f"buyer-{n}")
        rig.advance(600_000)
        five = (("tee", 5),)
        for expected in ([4, "overloaded"], [2, "overloaded"], [0, "accepted"]):
            (reply,) = rig.reserve(Ask("b", "bob", five))
            assert [rig.snapshot().due_holds, reply.outcome] == expected

    def test_exactly_the_bound_is_not_beyond_it(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 2),)),), sweep_bound=2))
        rig.hold("a")
        rig.hold("b")
        rig.advance(600_000)
        (reply,) = rig.reserve(Ask("c", "bob", (("tee", 3),)))
        assert reply == ReserveReply(0, "sold_out", 1, ())

    def test_happens_once_in_a_batch(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 3),)),), sweep_bound=1))
        for name in ("a", "b", "c"):
            rig.hold(name)
        rig.advance(600_000)
        replies = rig.reserve(Ask("d", "bob"), Ask("e", "cid"), Ask("a"))
        assert [reply.outcome for reply in replies] == ["accepted", "overloaded", "replayed"]
        assert rig.snapshot().due_holds == 2
