"""One reservation's record is lost or damaged: its hold waits for a repair, and no other does."""

import msgspec
import pytest

from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.types import Reservation, ReservationState
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import read_state, run

HOLDS = 10
LOST = "h3"
SALE = Sale(items=(Item("tee", stock=(("default", HOLDS),), limit=HOLDS),))
DAMAGES: dict[str, object] = {
    "missing": None,
    "no MessagePack": b"\xc1",
    "no array": msgspec.msgpack.encode(7),
    "an empty array": msgspec.msgpack.encode([]),
    "a deadline of text": msgspec.msgpack.encode([1, 1, 3, 1, 3, "x", 0, "ann", "f", [1, 1]]),
    "no buyer": msgspec.msgpack.encode([1, 1, 3, 1, 3, 9, 0, 7, "f", [1, 1]]),
    "lines of text": msgspec.msgpack.encode([1, 1, 3, 1, 3, 9, 0, "ann", "f", "x"]),
    "an account there is none of": msgspec.msgpack.encode(
        [1, 1, 3, 1, 3, 9, 0, "ann", "f", [2, 1]]
    ),
}


@pytest.fixture(params=tuple(DAMAGES.values()), ids=tuple(DAMAGES))
def damaged(rig: Rig, request: pytest.FixtureRequest) -> Rig:
    """Ten holds of as many units, all due, one of them damaged."""
    rig.open(SALE)
    for n in range(HOLDS):
        rig.hold(f"h{n}", buyer=f"buyer-{n % 2}")
    if request.param is None:
        run(rig.client, "HDEL", rig.keys[2], token(LOST))
    else:
        run(rig.client, "HSET", rig.keys[2], token(LOST), request.param)
    rig.advance(600_000)
    return rig


def _indexed(rig: Rig) -> list[bytes]:
    """Tokens of the deadlines, without the sentinel."""
    return [name for name in run(rig.client, "ZRANGE", rig.keys[4], "0", "-1") if name]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_sweep_expires_all_other_holds_and_reports_the_one(damaged: Rig, most: int) -> None:
    calls = [damaged.expire_reply(most) for _ in range(HOLDS // most + 2)]
    assert sum(expired for expired, *_ in calls) == HOLDS - 1
    assert calls[-1] == (0, 0, 0, 1)
    assert damaged.snapshot().accounts[0].available == HOLDS - 1
    assert _indexed(damaged) == [token(LOST).encode()], "its deadline is kept for the repair"
    with damaged.unchanged():
        assert damaged.expire_reply(most) == (0, 0, 0, 1)
        assert damaged.snapshot().due_holds == 0


def test_a_short_reserve_gets_the_other_units(damaged: Rig) -> None:
    (reply,) = damaged.reserve(Ask("new", "cid", (("tee", HOLDS - 1),)))
    assert reply.outcome == "accepted"
    (reply,) = damaged.reserve(Ask("newer", "dan", (("tee", 1),)))
    assert reply.outcome == "sold_out"
    assert damaged.expire_reply(1)[3] == 1


def test_its_buyer_is_answered_without_it(damaged: Rig) -> None:
    """Its units still count for the limit: nobody knows yet what became of them."""
    (reply,) = damaged.reserve(Ask("new", "buyer-1", (("tee", HOLDS),)))
    assert (reply.outcome, reply.holds) == ("limit_exceeded", ())
    assert damaged.expire_reply(100)[3] == 1


def test_an_own_hold_that_is_lost_is_not_shown(rig: Rig) -> None:
    rig.open(SALE)
    shown = rig.hold("a")
    rig.hold("b")
    run(rig.client, "HDEL", rig.keys[2], token("b"))
    (reply,) = rig.reserve(Ask("c", "ann", (("tee", HOLDS),)))
    assert reply == ReserveReply(0, "limit_exceeded", 1, HOLDS, (shown,))


@pytest.mark.parametrize("resolved", [False, True])
def test_a_deadline_that_is_not_the_records_is_set_right(rig: Rig, *, resolved: bool) -> None:
    rig.open(SALE)
    held = rig.hold("a")
    rig.hold("b")
    if resolved:
        rig.confirm("a")
    run(rig.client, "ZADD", rig.keys[4], held.deadline - 1000, token("a"))
    rig.set_clock(held.deadline - 1)
    before = rig.snapshot()
    assert rig.expire_reply(1) == (0, 0, held.deadline, 0)
    deadlines = read_state(rig.client, rig.keys).deadlines
    assert deadlines.get(token("a")) == (None if resolved else held.deadline)
    assert rig.snapshot().sequence == before.sequence, "the index is no part of the history"
    rig.state()


def test_a_repaired_record_is_expired_like_any_other(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a")
    packed = run(rig.client, "HGET", rig.keys[2], token("a"))
    record = msgspec.msgpack.decode(packed)
    run(rig.client, "HDEL", rig.keys[2], token("a"))
    rig.advance(600_000)
    assert rig.expire_reply(1) == (0, 0, 0, 1)
    request = ("reservation", "7:1", "ops", token("a"), 0, 0, record)
    assert rig.call("repair", rig.pack(request)).read(tuple[str, int])[0] == "repaired"
    assert rig.expire_reply(1) == (1, 0, 0, 0)
    (found,) = rig.read("a")
    assert isinstance(found, Reservation)
    assert found.state == ReservationState.EXPIRED
    rig.state()
