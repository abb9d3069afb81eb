"""adjust: units put into, or taken out of, an account."""

import pytest

from gateway.inventory.events import Adjust
from gateway.inventory.outcomes import AdjustReply
from gateway.inventory.types import ADJUSTMENT_KEYS_MAX
from tests.support.scripts.harness import HOUR_MS, Rig
from tests.support.scripts.sale import Item, Sale, token
from tests.support.scripts.state import run

DEFAULT = ("tee", "default")


@pytest.mark.parametrize("delta", [5, -6])
def test_moves_adjusted_and_available(rig: Rig, delta: int) -> None:
    rig.open(Sale())
    rig.hold("a", (("tee", 3),))
    rig.confirm("a", lines=(("tee", 1),))
    rig.hold("b", (("tee", 2),))
    with rig.step() as step:
        reply = rig.adjust("tee", delta)
    assert reply == AdjustReply("adjusted", 7 + delta, held=2, sold=1, floor=0, sequence=6)
    assert step.moved == {DEFAULT: {"adjusted": delta, "available": delta}}
    assert step.after.records == step.before.records
    assert step.after.buyers == step.before.buyers
    assert step.after.deadlines == step.before.deadlines
    assert step.events == (
        Adjust(
            **rig.numbered(6),  # type: ignore[arg-type]
            sku="tee",
            location="default",
            delta=delta,
            reason="recount",
            actor="ops",
        ),
    )


@pytest.mark.parametrize(("floor", "lowest"), [(-2, -12), (0, -10), (3, -7)])
def test_down_to_the_floor_and_not_below(rig: Rig, floor: int, lowest: int) -> None:
    rig.open(Sale(items=(Item("tee", floor=floor),)))
    with rig.unchanged():
        reply = rig.adjust("tee", lowest - 1)
    assert reply == AdjustReply("floor_violation", 10, held=0, sold=0, floor=floor, sequence=2)
    reply = rig.adjust("tee", lowest)
    assert reply == AdjustReply("adjusted", floor, held=0, sold=0, floor=floor, sequence=3)


def test_one_location_does_not_pay_for_another(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("paris", 2), ("lyon", 5)), floor=1),)))
    with rig.unchanged():
        assert rig.adjust("tee", -3, "paris").outcome == "floor_violation"
    with rig.step() as step:
        assert rig.adjust("tee", -2, "paris").outcome == "adjusted"
    assert step.moved == {("tee", "paris"): {"adjusted": -2, "available": -2}}
    with rig.unchanged():
        assert rig.adjust("tee", -5, "lyon").outcome == "floor_violation"
    assert rig.adjust("tee", -4, "lyon").available == 1


def test_units_may_come_back_while_below_the_floor(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 1),), floor=5),)))
    assert rig.adjust("tee", 1).outcome == "adjusted"
    with rig.unchanged():
        assert rig.adjust("tee", -1).outcome == "floor_violation"


@pytest.mark.parametrize("delta", [5, -7, -8])
def test_a_preview_tells_what_would_be_and_changes_nothing(rig: Rig, delta: int) -> None:
    rig.open(Sale())
    rig.hold("a", (("tee", 3),))
    with rig.unchanged():
        told = rig.adjust("tee", delta, preview=True)
    done = rig.adjust("tee", delta)
    if delta == -8:
        assert told == done
        assert told.outcome == "floor_violation"
    else:
        assert told == AdjustReply("would_adjust", 7, held=3, sold=0, floor=0, sequence=3)
        assert done.available == told.available + delta


def test_a_key_adjusts_once(rig: Rig) -> None:
    rig.open(Sale())
    with rig.step() as step:
        first = rig.adjust("tee", 5, once=("delivery", "f1"))
    assert first == AdjustReply("adjusted", 15, held=0, sold=0, floor=0, sequence=3)
    (event,) = step.events
    assert isinstance(event, Adjust)
    assert (event.adjust_key, event.fingerprint) == (token("delivery"), "f1")
    assert step.after.meta.adjustments == (f"{token('delivery')}:f1", 3, rig.clock)
    rig.hold("a", (("tee", 3),))
    with rig.unchanged():
        again = rig.adjust("tee", 5, once=("delivery", "f1"))
        other = rig.adjust("tee", 6, once=("delivery", "f2"))
    assert again == AdjustReply("replayed", 12, held=3, sold=0, floor=0, sequence=3)
    assert other.outcome == "key_reused"
    assert rig.adjust("tee", 5, once=("another", "f1")).outcome == "adjusted"
    assert rig.adjust("tee", 5).available == 22
    rig.set_state("closed")
    with rig.unchanged():
        assert rig.adjust("tee", 5, once=("delivery", "f1")).outcome == "replayed"


def test_a_refused_adjustment_binds_no_key(rig: Rig) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.adjust("tee", -11, once=("take", "f1")).outcome == "floor_violation"
        assert rig.adjust("tee", -10, preview=True, once=("take", "f1")).outcome == "would_adjust"
    assert rig.adjust("tee", -10, once=("take", "f1")).outcome == "adjusted"


def test_no_key_is_forgotten_in_its_first_day(rig: Rig) -> None:
    rig.open(Sale(outbox_bound=2 * ADJUSTMENT_KEYS_MAX))
    for number in range(ADJUSTMENT_KEYS_MAX):
        assert rig.adjust("tee", 1, once=(f"key-{number}", "f1")).outcome == "adjusted"
    rig.advance(24 * HOUR_MS - 1)
    with rig.unchanged():
        assert rig.adjust("tee", 1, once=("one-more", "f1")).outcome == "too_many"
        assert rig.adjust("tee", 1, once=("key-0", "f1")).outcome == "replayed"
    assert rig.adjust("tee", 1).outcome == "adjusted"
    rig.advance(1)
    assert rig.adjust("tee", 1, once=("one-more", "f1")).outcome == "adjusted"
    made = rig.state().meta.adjustments
    assert len(made) == 3 * ADJUSTMENT_KEYS_MAX
    assert made[0] == f"{token('key-1')}:f1"
    assert made[-3] == f"{token('one-more')}:f1"


def test_new_units_sell(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 0),)),)))
    rig.adjust("tee", 1)
    rig.hold("a")


def test_a_closed_sale_is_not_adjusted(rig: Rig) -> None:
    rig.open(Sale())
    rig.set_state("closed")
    with rig.unchanged():
        assert rig.adjust("tee", 1).outcome == "closed"


def test_never_above_what_counters_hold(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", 10**9 - 1),)),)))
    assert rig.adjust("tee", 1).available == 10**9
    with rig.unchanged():
        assert (
            rig.call("adjust", rig.pack((1, 1, "recount", "ops", False, "", ""))).status
            == "malformed"
        )


def test_adjustments_add_up_to_no_more_than_can_be_rebuilt(rig: Rig) -> None:
    """A negative floor lets as many units be sold beyond what was given."""
    most = 10**14 - 1 - 10**9
    rig.open(Sale(items=(Item("tee", stock=(("default", 10),)),)))
    for counter in ("adjusted", "sold"):
        run(rig.client, "HINCRBY", rig.keys[1], f"tee:default:{counter}", most - 10 - 1)
    request = rig.pack((1, 1, "recount", "ops", False, "", ""))
    answer = rig.call("adjust", request).read(tuple[str, int, int, int, int, int])
    assert answer[0] == "adjusted"
    with rig.unchanged():
        assert rig.call("adjust", request).status == "malformed"
