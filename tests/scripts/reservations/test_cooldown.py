"""Who gives holds back repeatedly waits before the next; after too many there is none."""

import msgspec
import pytest

from gateway.inventory.events import Expire
from gateway.inventory.outcomes import ReserveReply
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import Buyer, run

# After two given back 1 s, then 2, 4, 5, 5, ...
COOLS = Sale(hold_ms=60_000, cooldown=(2, 1000, 5000))


def give_back(rig: Rig, name: str, buyer: str = "ann") -> None:
    rig.hold(name, buyer=buyer)
    assert rig.cancel(name, buyer).outcome == "cancelled"


def cooling(rig: Rig, buyer: str = "ann") -> ReserveReply:
    with rig.unchanged():
        (reply,) = rig.reserve(Ask("next", buyer))
    assert reply.outcome == "cooling_down", reply
    return reply


def test_the_wait_begins_after_so_many_grows_and_is_capped(rig: Rig) -> None:
    rig.open(COOLS)
    give_back(rig, "a0")
    waits = []
    for number in range(1, 6):
        give_back(rig, f"a{number}")
        reply = cooling(rig)
        assert reply == ReserveReply(0, "cooling_down", reply.detail, number + 1)
        waits.append(reply.detail)
        rig.advance(int(str(reply.detail)) - 1)
        assert cooling(rig).detail == 1
        rig.advance(1)
    assert waits == [1000, 2000, 4000, 5000, 5000]
    rig.hold("next")


def test_a_lapse_counts_from_its_deadline(rig: Rig) -> None:
    rig.open(COOLS)
    rig.hold("a")
    rig.hold("b")
    rig.advance(60_400)
    assert rig.expire() == (2, 0, 0)
    assert cooling(rig).detail == 600


def test_a_lapse_that_waits_for_the_sweeper_counts_too(rig: Rig) -> None:
    rig.open(COOLS)
    rig.hold("a")
    rig.hold("b")
    rig.advance(60_400)
    with rig.step() as step:
        (reply,) = rig.reserve(Ask("next"))
    assert reply == ReserveReply(0, "cooling_down", 600, 2)
    assert [type(event) for event in step.events] == [Expire, Expire]
    assert step.after.buyers["ann"].given_back == 2


def test_what_was_paid_for_does_not_count(rig: Rig) -> None:
    rig.open(COOLS)
    for number in range(5):
        rig.hold(f"a{number}")
        rig.confirm(f"a{number}")
    rig.return_units("a0")
    assert rig.state().buyers["ann"].given_back == 0
    rig.hold("next")


def test_each_buyer_waits_alone_and_a_replay_does_not(rig: Rig) -> None:
    rig.open(COOLS)
    rig.hold("kept")
    give_back(rig, "a")
    give_back(rig, "b")
    cooling(rig)
    assert rig.reserve(Ask("kept"))[0].outcome == "replayed"
    rig.hold("c", buyer="bob")


def test_without_a_cooldown_nobody_waits(rig: Rig) -> None:
    rig.open(Sale())
    for number in range(20):
        give_back(rig, f"a{number}")
    assert rig.state().buyers == {"ann": Buyer({}, given_back=20)}
    rig.hold("next")


@pytest.mark.parametrize("held", [0, 1, 3])
def test_unpaid_reservations_of_a_buyer_are_bounded(rig: Rig, held: int) -> None:
    rig.open(Sale(unpaid_per_buyer=3))
    for number in range(3):
        rig.hold(f"a{number}")
        if number >= held:
            rig.cancel(f"a{number}")
    with rig.unchanged():
        (reply,) = rig.reserve(Ask("next"))
    assert (reply.outcome, reply.detail, reply.more) == ("limit_exceeded", 0, 3)
    assert len(reply.holds) == held
    assert rig.reserve(Ask("a0"))[0].outcome == "replayed"
    rig.hold("b", buyer="bob")


WINDOW_MS = 3_600_000


def _open_at(rig: Rig, sale: Sale, ms_into_window: int) -> None:
    rig.open(sale)
    rig.set_clock(rig.clock // WINDOW_MS * WINDOW_MS + WINDOW_MS + ms_into_window)


@pytest.mark.parametrize("way", ["cancelled", "expired"])
def test_unpaid_reservations_are_forgotten_with_their_window(rig: Rig, way: str) -> None:
    _open_at(rig, Sale(unpaid_per_buyer=2, unpaid_window_ms=WINDOW_MS, hold_ms=50), 1000)
    for name in ("a", "b"):
        rig.hold(name)
        if way == "cancelled":
            rig.cancel(name)
        rig.advance(50)
        rig.expire()
    window = rig.clock // WINDOW_MS
    for _ in range(2):
        with rig.unchanged():
            assert rig.reserve(Ask("c"))[0].outcome == "limit_exceeded"
        rig.set_clock((window + 1) * WINDOW_MS - 1)
    rig.advance(1)
    rig.hold("c")
    assert rig.state().buyers["ann"] == Buyer(
        {1: 1}, (token("c"),), given_back=2, unpaid=2, unpaid_window=window
    )
    rig.cancel("c")
    assert rig.state().buyers["ann"] == Buyer({}, given_back=3, unpaid=1, unpaid_window=window + 1)


def test_holds_count_whatever_the_window(rig: Rig) -> None:
    _open_at(rig, Sale(unpaid_per_buyer=2, unpaid_window_ms=WINDOW_MS, hold_ms=9 * WINDOW_MS), 0)
    for name in ("a", "b"):
        rig.hold(name)
    rig.advance(2 * WINDOW_MS)
    assert rig.reserve(Ask("c"))[0].outcome == "limit_exceeded"


def test_a_clock_set_back_forgets_nothing(rig: Rig) -> None:
    _open_at(rig, Sale(unpaid_per_buyer=2, unpaid_window_ms=WINDOW_MS), 1000)
    for name in ("a", "b"):
        rig.hold(name)
        rig.cancel(name)
    rig.advance(-WINDOW_MS)
    with rig.unchanged():
        assert rig.reserve(Ask("c"))[0].outcome == "limit_exceeded"


def test_a_partition_of_the_release_before_counts_the_whole_sale(rig: Rig) -> None:
    _open_at(rig, Sale(unpaid_per_buyer=2), 0)
    catalog = msgspec.msgpack.decode(run(rig.client, "HGET", rig.keys[0], "catalog"))
    packed = msgspec.msgpack.encode([*catalog[:3], catalog[3][:5]])
    run(rig.client, "HSET", rig.keys[0], "catalog", packed)
    for name in ("a", "b"):
        rig.hold(name)
        rig.cancel(name)
    rig.advance(9 * WINDOW_MS)
    assert rig.reserve(Ask("c"))[0].outcome == "limit_exceeded"


def test_a_paid_one_makes_room(rig: Rig) -> None:
    rig.open(Sale((Item("tee", limit=10),), unpaid_per_buyer=1))
    rig.hold("a")
    assert rig.reserve(Ask("b"))[0].outcome == "limit_exceeded"
    rig.confirm("a")
    rig.hold("b")


def test_within_one_batch(rig: Rig) -> None:
    rig.open(Sale(unpaid_per_buyer=2))
    outcomes = [reply.outcome for reply in rig.reserve(*(Ask(f"a{n}") for n in range(4)))]
    assert outcomes == ["accepted", "accepted", "limit_exceeded", "limit_exceeded"]
