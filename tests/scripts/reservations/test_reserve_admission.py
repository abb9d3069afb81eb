"""reserve: where there is a waiting room, an accepted reservation spends the buyer's admission."""

import pytest

from gateway.inventory.events import Reserve
from gateway.inventory.outcomes import ReserveReply
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale
from tests.support.scripts.state import Buyer

ROOM = Sale(waiting_room=True)


def refused(reason: str) -> tuple[ReserveReply, ...]:
    return (ReserveReply(0, "not_admitted", reason),)


def admitted(name: str, admission: int, buyer: str = "ann", **changes: object) -> Ask:
    return Ask(name, buyer, admission=admission, **changes)  # type: ignore[arg-type]


def test_spends_the_number_and_says_so(rig: Rig) -> None:
    rig.open(ROOM)
    with rig.step() as step:
        (reply,) = rig.reserve(admitted("a", 7))
    assert reply.outcome == "accepted"
    (event,) = step.events
    assert isinstance(event, Reserve)
    assert event.admission == 7
    assert step.after.buyers["ann"].admission == 7


def test_nobody_without_a_number(rig: Rig) -> None:
    rig.open(ROOM)
    with rig.unchanged():
        assert rig.reserve(Ask("a")) == refused("missing")


@pytest.mark.parametrize("number", [6, 7])
def test_no_number_twice_and_none_from_before(rig: Rig, number: int) -> None:
    rig.open(ROOM)
    rig.reserve(admitted("a", 7))
    with rig.unchanged():
        assert rig.reserve(admitted("b", number)) == refused("spent")
    assert rig.reserve(admitted("b", 8))[0].outcome == "accepted"


def test_a_number_is_one_buyers_own(rig: Rig) -> None:
    """Binding it to its buyer is the token's part; another buyer's number spends nothing here."""
    rig.open(ROOM)
    rig.reserve(admitted("a", 7))
    assert rig.reserve(admitted("b", 7, buyer="bob"))[0].outcome == "accepted"


def test_one_admission_within_a_batch(rig: Rig) -> None:
    rig.open(ROOM)
    first, second = rig.reserve(admitted("a", 7), admitted("b", 7))
    assert first.outcome == "accepted"
    assert second == ReserveReply(1, "not_admitted", "spent")


def test_ends_at_the_millisecond_on_the_servers_clock(rig: Rig) -> None:
    rig.open(ROOM)
    ask = admitted("a", 7, admission_ends_at=rig.clock)
    with rig.unchanged():
        assert rig.reserve(ask) == refused("expired")
    rig.set_clock(rig.clock - 1)
    assert rig.reserve(ask)[0].outcome == "accepted"


@pytest.mark.parametrize(("admission", "ends_at"), [(0, 0), (7, 1)])
def test_a_replay_needs_no_admission(rig: Rig, admission: int, ends_at: int) -> None:
    rig.open(ROOM)
    rig.reserve(admitted("a", 7))
    with rig.unchanged():
        (reply,) = rig.reserve(admitted("a", admission, admission_ends_at=ends_at))
    assert reply.outcome == "replayed"


@pytest.mark.parametrize(
    ("sale", "ask", "outcome"),
    [
        (Sale((Item("tee", (("default", 0),)),), waiting_room=True), admitted("a", 7), "sold_out"),
        (Sale((Item("tee", limit=1),), waiting_room=True),
         admitted("a", 7, lines=(("tee", 2),)), "limit_exceeded"),
    ],
)  # fmt: skip
def test_a_refusal_spends_nothing(rig: Rig, sale: Sale, ask: Ask, outcome: str) -> None:
    rig.open(sale)
    with rig.unchanged():
        assert rig.reserve(ask)[0].outcome == outcome
    rig.adjust("tee", 1)
    assert rig.reserve(admitted("b", 7))[0].outcome == "accepted"


def test_is_asked_for_after_the_sales_state_and_before_limit_and_stock(rig: Rig) -> None:
    rig.open(Sale((Item("tee", (("default", 0),)),), waiting_room=True))
    assert rig.reserve(Ask("a", lines=(("tee", 20),))) == refused("missing")
    rig.set_state("paused", "tee")
    assert rig.reserve(Ask("a"))[0] == ReserveReply(0, "not_open", "item_paused", 1)


def test_a_buyer_who_gave_everything_back_has_still_spent_it(rig: Rig) -> None:
    rig.open(ROOM)
    rig.reserve(admitted("a", 7))
    rig.cancel("a")
    assert rig.state().buyers == {"ann": Buyer({}, (), admission=7, given_back=1)}
    assert rig.reserve(admitted("b", 7)) == refused("spent")


def test_a_sale_without_a_room_takes_and_keeps_no_number(rig: Rig) -> None:
    rig.open(Sale())
    with rig.step() as step:
        rig.reserve(admitted("a", 7))
    (event,) = step.events
    assert isinstance(event, Reserve)
    assert event.admission is None
    assert step.after.buyers == {"ann": Buyer({1: 1}, (*step.after.records,))}
