"""reserve: retries of a request, and many requests in one call."""

from gateway.inventory.events import Expire
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.types import Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token

DEFAULT = ("tee", "default")


class TestReplay:
    def test_is_answered_as_the_first_time_and_writes_nothing(self, rig: Rig) -> None:
        rig.open(Sale())
        first = rig.hold("a")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a"))
        assert reply == ReserveReply(0, "replayed", first)

    def test_passes_every_later_check(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 1),), limit=1),), outbox_bound=3))
        first = rig.hold("a")
        rig.set_state("closed")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a"))
        assert reply == ReserveReply(0, "replayed", first)

    def test_shows_the_state_of_now(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("a")
        confirmed = rig.confirm("a").reservation
        assert confirmed is not None
        assert confirmed.state == ReservationState.CONFIRMED
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a"))
        assert reply == ReserveReply(0, "replayed", confirmed)

    def test_of_a_due_hold_expires_it_before_the_answer(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.set_clock(rig.hold("a").deadline)
        with rig.step() as step:
            first, second = rig.reserve(Ask("a"), Ask("a"))
        assert isinstance(first.detail, Reservation)
        assert (first.outcome, first.detail.state) == ("replayed", ReservationState.EXPIRED)
        assert second.detail == first.detail
        assert [type(event) for event in step.events] == [Expire]
        assert step.moved == {DEFAULT: {"available": 1, "held": -1}}

    def test_another_payload_under_the_key_is_refused(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("a")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", fingerprint="order-2"))
        assert reply == ReserveReply(0, "key_reused")

    def test_another_buyer_is_told_nothing(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("a")
        with rig.unchanged():
            (reply,) = rig.reserve(Ask("a", "bob"))
        assert reply == ReserveReply(0, "key_reused")


class TestBatch:
    def test_is_decided_in_order(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 2),), limit=1),)))
        with rig.step() as step:
            replies = rig.reserve(
                Ask("a", "ann"), Ask("b", "ann"), Ask("c", "bob"), Ask("d", "cid")
            )
        assert [reply.number for reply in replies] == [0, 1, 2, 3]
        assert [reply.outcome for reply in replies] == [
            "accepted",
            "limit_exceeded",
            "accepted",
            "sold_out",
        ]
        first = replies[0].detail
        assert isinstance(first, Reservation)
        assert replies[1].holds == (first,)
        assert [event.sequence for event in step.events] == [3, 4]
        assert {t: r.accepted_sequence for t, r in step.after.records.items()} == {
            token("a"): 3,
            token("c"): 4,
        }

    def test_the_same_request_twice_is_one_effect(self, rig: Rig) -> None:
        rig.open(Sale())
        with rig.step() as step:
            first, second, third = rig.reserve(Ask("a"), Ask("a"), Ask("a", fingerprint="order-2"))
        assert (first.outcome, second.outcome) == ("accepted", "replayed")
        assert first.detail == second.detail
        assert third == ReserveReply(2, "key_reused")
        assert step.moved == {DEFAULT: {"available": -1, "held": 1}}
        assert len(step.events) == 1

    def test_of_512_is_taken_and_of_513_is_not(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 512),)),)))
        asks = [Ask(f"r{n}", f"buyer-{n}") for n in range(513)]
        with rig.unchanged():
            assert rig.call("reserve", rig.pack_asks(*asks)).status == "malformed"
        with rig.step() as step:
            replies = rig.reserve(*asks[:512])
        assert {reply.outcome for reply in replies} == {"accepted"}
        assert step.moved == {DEFAULT: {"available": -512, "held": 512}}
        assert len(step.events) == 512
