"""set_state: scheduled → open ⇄ paused → closed; an item open ⇄ paused."""

import pytest

from gateway.inventory.events import SetState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Item, Sale

STATES = ("scheduled", "open", "paused", "closed")
EDGES = {
    ("scheduled", "open"),
    ("scheduled", "closed"),
    ("open", "paused"),
    ("open", "closed"),
    ("paused", "open"),
    ("paused", "closed"),
}
WAY_TO = {
    "scheduled": (),
    "open": ("open",),
    "paused": ("open", "paused"),
    "closed": ("closed",),
}


@pytest.mark.parametrize("was", STATES)
@pytest.mark.parametrize("to", STATES)
def test_of_the_sale(rig: Rig, was: str, to: str) -> None:
    rig.load(Sale())
    for state in WAY_TO[was]:
        rig.set_state(state)
    rig.freeze()
    if (was, to) not in EDGES:
        with rig.unchanged():
            expected = "unchanged" if was == to else "invalid_state"
            assert rig.set_state(to) == (expected, was)
        return
    with rig.step() as step:
        assert rig.set_state(to) == ("changed", was)
    sequence = step.before.meta.sequence + 1
    assert step.after.meta.state == to
    assert step.after.meta.catalog == step.before.meta.catalog
    assert step.moved == {}
    assert step.events == (
        SetState(
            **rig.numbered(sequence),  # type: ignore[arg-type]
            from_=was,
            to=to,  # type: ignore[arg-type]
            sku=None,
            actor="ops",
        ),
    )


def test_of_one_item(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee"), Item("cap"))))
    with rig.step() as step:
        assert rig.set_state("paused", "cap") == ("changed", "open")
    assert [item.paused for item in step.after.meta.catalog.items] == [False, True]
    assert step.after.meta.state == "open"
    assert step.events == (
        SetState(
            **rig.numbered(3),  # type: ignore[arg-type]
            from_="open",
            to="paused",
            sku="cap",
            actor="ops",
        ),
    )
    with rig.unchanged():
        assert rig.set_state("paused", "cap") == ("unchanged", "paused")
        assert rig.set_state("closed", "cap") == ("invalid_state", "paused")
        assert rig.set_state("scheduled", "cap") == ("invalid_state", "paused")
    with rig.step() as step:
        assert rig.set_state("open", "cap") == ("changed", "paused")
    assert step.after.meta.catalog == rig.state().meta.catalog
    assert [item.paused for item in step.after.meta.catalog.items] == [False, False]


def test_reservations_stay_as_they_are(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    with rig.step() as step:
        rig.set_state("paused")
    assert step.after.records == step.before.records
    assert step.after.buyers == step.before.buyers
    assert step.after.deadlines == step.before.deadlines
