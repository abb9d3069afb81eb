"""reserve under a rate limit: so many requests of a buyer at once, as many again each window."""

from collections.abc import Iterator

import pytest
import redis

from gateway.inventory.outcomes import ReserveReply
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale
from tests.support.scripts.state import run, writes

WINDOW_MS = 60_000
THREE = Sale((Item("tee", limit=100, stock=(("default", 1000),)),), rate=(3, WINDOW_MS))
SOLD_OUT = Sale((Item("tee", stock=(("default", 0),)),), rate=(3, WINDOW_MS))


def asked(name: str, buyer: str = "ann") -> Ask:
    return Ask(name, buyer, metered=True)


def told(reply: ReserveReply) -> tuple[str, int]:
    return reply.outcome, reply.remaining


def test_a_burst_and_then_one_at_a_time(rig: Rig) -> None:
    rig.open(THREE)
    replies = [rig.reserve(asked(f"a{number}"))[0] for number in range(4)]
    assert [told(reply) for reply in replies[:3]] == [
        ("accepted", 2), ("accepted", 1), ("accepted", 0),
    ]  # fmt: skip
    assert replies[3] == ReserveReply(0, "rate_limited", 20_000, remaining=0)
    rig.advance(19_999)
    assert rig.reserve(asked("b"))[0] == ReserveReply(0, "rate_limited", 1, remaining=0)
    rig.advance(1)
    assert told(rig.reserve(asked("b"))[0]) == ("accepted", 0)
    assert rig.reserve(asked("c"))[0].outcome == "rate_limited"


def test_a_bucket_is_full_again_after_its_window(rig: Rig) -> None:
    rig.open(THREE)
    for number in range(3):
        rig.reserve(asked(f"a{number}"))
    for _ in range(3):
        rig.advance(WINDOW_MS)
        outcomes = [rig.reserve(asked(f"{rig.clock}-{n}"[-22:]))[0] for n in range(4)]
        assert [told(reply)[1] for reply in outcomes] == [2, 1, 0, 0]
        assert outcomes[3].outcome == "rate_limited"


def test_what_was_asked_in_the_turn_before_counts(rig: Rig) -> None:
    """A new hash begins with each window; what a buyer may do does not change with it."""
    rig.open(THREE)
    rig.set_clock(rig.clock // WINDOW_MS * WINDOW_MS + WINDOW_MS - 1)
    for number in range(3):
        rig.reserve(asked(f"a{number}"))
    rig.advance(1)
    assert rig.reserve(asked("b"))[0].outcome == "rate_limited"
    rig.advance(19_999)
    assert told(rig.reserve(asked("b"))[0]) == ("accepted", 0)
    rig.advance(WINDOW_MS // 3)
    assert told(rig.reserve(asked("c"))[0]) == ("accepted", 0)


def test_each_buyer_alone_also_within_a_batch(rig: Rig) -> None:
    rig.open(THREE)
    batch = [asked(f"{buyer}{n}", buyer) for n in range(4) for buyer in ("ann", "bob")]
    replies = rig.reserve(*batch)
    assert [told(reply)[1] for reply in replies] == [2, 2, 1, 1, 0, 0, 0, 0]
    assert [reply.outcome for reply in replies[6:]] == ["rate_limited"] * 2
    assert told(rig.reserve(asked("c", "cid"))[0]) == ("accepted", 2)


def test_refusals_count_and_a_refusal_for_it_does_not(rig: Rig) -> None:
    rig.open(SOLD_OUT)
    assert [told(rig.reserve(asked(f"a{n}"))[0]) for n in range(3)] == [
        ("sold_out", 2), ("sold_out", 1), ("sold_out", 0),
    ]  # fmt: skip
    counted = writes(rig.client)
    for _ in range(20):
        assert rig.reserve(asked("a"))[0] == ReserveReply(0, "rate_limited", 20_000, remaining=0)
    assert writes(rig.client) == counted


def test_comes_after_the_replay_and_before_the_sales_state(rig: Rig) -> None:
    rig.open(THREE)
    for number in range(3):
        rig.reserve(asked(f"a{number}"))
    for _ in range(5):
        assert told(rig.reserve(asked("a0"))[0]) == ("replayed", -1)
    rig.set_state("paused")
    assert rig.reserve(asked("b"))[0].outcome == "rate_limited"
    assert rig.reserve(Ask("b"))[0].outcome == "not_open"


def test_who_is_not_metered_neither_counts_nor_is_told(rig: Rig) -> None:
    rig.open(THREE)
    replies = [rig.reserve(Ask(f"a{number}"))[0] for number in range(10)]
    assert {told(reply) for reply in replies} == {("accepted", -1)}
    assert told(rig.reserve(asked("b"))[0]) == ("accepted", 2)


def test_only_the_last_two_windows_are_kept(rig: Rig) -> None:
    """However many buyers ask, no key lives for ever; a bucket is forgotten once it is full."""
    rig.open(SOLD_OUT)
    for turn in range(5):
        rig.reserve(*(asked(f"{turn}-{n}", f"buyer-{turn}-{n}") for n in range(20)))
        lives = [run(rig.client, "PTTL", key) for key in rig.bucket_keys]
        sizes = [run(rig.client, "HLEN", key) for key in rig.bucket_keys]
        assert sum(sizes) <= 2 * 21
        assert all(
            0 < life <= 3 * WINDOW_MS for life, size in zip(lives, sizes, strict=True) if size
        )
        rig.advance(WINDOW_MS)


def test_a_clock_that_was_set_back_keeps_nobody_out(rig: Rig) -> None:
    rig.open(THREE)
    for number in range(3):
        rig.reserve(asked(f"a{number}"))
    rig.set_clock(rig.clock - 10 * WINDOW_MS)
    assert told(rig.reserve(asked("b"))[0]) == ("accepted", 2)


def test_without_a_limit_there_are_no_buckets(rig: Rig) -> None:
    rig.open(Sale())
    rig.reserve(asked("a"))
    assert run(rig.client, "EXISTS", *rig.bucket_keys) == 0


@pytest.mark.parametrize(
    "limit",
    [
        *(None, 7, [], [3], [0, 1000], [3, 0], [3, -1], [1.5, 1000], [3, 86_400_001], ["3", 1000]),
        [1001, 1],
    ],
)
def test_a_limit_that_is_none(rig: Rig, limit: object) -> None:
    rig.open(Sale())
    head = (rig.run_id.encode(), b"1", rig.pack_asks(asked("a")))
    keys = rig.keys + rig.bucket_keys
    with rig.unchanged():
        assert rig.raw("reserve", *head, rig.pack(limit), keys=keys).status == "malformed"
        assert rig.raw("reserve", *head, rig.pack((3, 1000)), keys=rig.keys).status == "malformed"
        assert rig.raw("reserve", *head, keys=keys).status == "malformed"
        assert rig.raw("reserve", *head, rig.pack((3, 1000)), keys=keys[:7]).status == "malformed"


@pytest.fixture
def full(rig: Rig) -> Iterator[Rig]:
    """The server's memory is given back after the test."""
    yield rig
    run(rig.client, "CONFIG", "SET", "maxmemory", "0")


def test_where_memory_is_full_replays_and_refusals_are_answered(full: Rig) -> None:
    full.open(Sale((Item("tee", stock=(("default", 1),)),), rate=(3, WINDOW_MS)))
    full.reserve(asked("a"))
    run(full.client, "CONFIG", "SET", "maxmemory", "1")
    replayed, sold_out = full.reserve(asked("a"), asked("b", "bob"))
    assert (replayed.outcome, sold_out.outcome) == ("replayed", "sold_out")


@pytest.mark.parametrize("denied", ["hset", "pexpire", "unlink"])
def test_a_denied_write_of_a_bucket_moves_no_unit_without_its_event(
    rig: Rig, server_client: redis.Redis, denied: str
) -> None:
    rig.open(SOLD_OUT)
    run(rig.client, "ACL", "SETUSER", "limited", "on", ">any", "~*", "+@all", f"-{denied}")
    before = rig.state()
    head = (rig.run_id.encode(), b"1", rig.pack_asks(asked("a")), rig.pack(SOLD_OUT.rate))
    try:
        rig.raw("reserve", *head, keys=rig.keys + rig.bucket_keys, client=server_client)
    except redis.ResponseError:
        pass
    finally:
        run(rig.client, "ACL", "DELUSER", "limited")
    assert rig.state() == before
