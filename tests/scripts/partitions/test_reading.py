"""snapshot, read: they answer what is there; read expires the due holds among it."""

from gateway.inventory.events import Expire
from gateway.inventory.types import AccountCounters, ReservationState
from tests.support.scripts.answers import SnapshotAnswer
from tests.support.scripts.harness import RUN_ID, Rig
from tests.support.scripts.sale import Item, Sale, token


class TestSnapshot:
    def test_says_everything_of_one_moment(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("paris", 4), ("lyon", 6))), Item("cap"))))
        rig.hold("a", (("tee", 3),))
        rig.hold("b", (("cap", 2),))
        rig.confirm("b")
        rig.adjust("tee", -1, "lyon")
        rig.set_state("paused", "cap")
        rig.trim(4)
        with rig.unchanged():
            answer = rig.raw("snapshot")
        assert (answer.detail, answer.wall_ms, answer.shift_ms) == (1, rig.clock, 0)
        assert answer.read(SnapshotAnswer) == SnapshotAnswer(
            sequence=7,
            state="open",
            run_id=RUN_ID,
            ledger_sequence=4,
            outbox_length=4,
            due_holds=0,
            reservations=2,
            accounts=(
                AccountCounters("tee", "paris", 4, 0, 0, 0, 1, 3, 0),
                AccountCounters("tee", "lyon", 6, -1, 0, 0, 5, 0, 0),
                AccountCounters("cap", "default", 10, 0, 0, 0, 8, 0, 2),
            ),
            paused_skus=("cap",),
        )

    def test_counts_due_holds_from_the_deadline_on(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.hold("b")
        deadline = rig.hold("a").deadline
        rig.set_clock(deadline - 1)
        assert rig.snapshot().due_holds == 0
        rig.set_clock(deadline)
        with rig.unchanged():
            assert rig.snapshot().due_holds == 2

    def test_needs_no_fence(self, rig: Rig) -> None:
        rig.open(Sale())
        for arguments in ((), (b"b" * 40, b"9"), (b"", b"", b"anything")):
            with rig.unchanged():
                assert rig.raw("snapshot", *arguments).status == "ok"


class TestRead:
    def test_in_the_order_asked(self, rig: Rig) -> None:
        rig.open(Sale())
        first, second = rig.hold("a"), rig.hold("b", buyer="bob")
        with rig.unchanged():
            assert rig.read("b", "nobody", "a", "b") == (second, None, first, second)

    def test_every_state(self, rig: Rig) -> None:
        rig.open(Sale())
        for name in ("held", "confirmed", "cancelled", "expired"):
            rig.hold(name)
        confirmed, cancelled = rig.confirm("confirmed"), rig.cancel("cancelled")
        rig.extend("held", 1000)
        rig.advance(600_000)
        rig.expire()
        rig.return_units("confirmed")
        found = rig.read("held", "confirmed", "cancelled", "expired")
        assert [r.state for r in found if r] == list(ReservationState)
        assert found[2] == cancelled.reservation
        assert confirmed.reservation is not None
        assert found[1] is not None
        assert found[1].returned == (1, 1)

    def test_a_due_hold_is_expired_swept_or_not(self, rig: Rig) -> None:
        rig.open(Sale())
        rig.set_clock(rig.hold("a").deadline)
        rig.hold("b")
        with rig.step() as step:
            found, held = rig.read("a", "b")
        assert found is not None
        assert held is not None
        assert (found.state, held.state) == (ReservationState.EXPIRED, ReservationState.HELD)
        assert [type(event) for event in step.events] == [Expire]
        assert found.sequence == step.events[0].sequence
        with rig.unchanged():
            assert rig.read("a", "b") == (found, held)

    def test_many_due_holds_in_one_read(self, rig: Rig) -> None:
        rig.open(Sale(items=(Item("tee", stock=(("default", 500),), limit=500),)))
        names = [f"h{n}" for n in range(500)]
        for name in names:
            rig.hold(name)
        rig.advance(600_000)
        with rig.step() as step:
            found = rig.read(*names, *names)
        assert {r.state for r in found if r} == {ReservationState.EXPIRED}
        assert len(step.events) == 500

    def test_a_thousand_at_once_and_no_more(self, rig: Rig) -> None:
        rig.open(Sale())
        held = rig.hold("h7")
        names = [f"h{n}" for n in range(1000)]
        found = rig.read(*names)
        assert [r for r in found if r] == [held]
        tokens = [token(name) for name in [*names, "one more"]]
        assert rig.call("read", rig.pack(tokens)).status == "malformed"
