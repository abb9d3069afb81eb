"""queue_tick: who is called, when slots end, how the pace adapts."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.scripts.room import MARGIN, Room
from tests.support.scripts.server import RedisServer

BUYERS = [f"buyer-{n}" for n in range(1, 101)]


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        made.open()
        made.numbers(*BUYERS)
        yield made


def served(room: Room) -> tuple[int, int, int]:
    """The last place called, the last that lapsed, and how many are active."""
    reading = room.reading
    return reading.serving, reading.lapsed, reading.active


def test_no_more_are_active_than_may_be(room: Room) -> None:
    assert room.tick(most_active=10)[0]
    assert served(room) == (10, 0, 10)
    room.tick(most_active=10)
    assert served(room) == (10, 0, 10)


def test_used_places_free_slots_at_once(room: Room) -> None:
    room.tick(most_active=10)
    room.tick(most_active=10, used_places=(3, 7))
    assert served(room) == (12, 0, 10)
    room.tick(most_active=10, used_places=(3, 7))
    assert served(room) == (12, 0, 10)


def test_slots_end_with_their_time(room: Room) -> None:
    room.tick(most_active=10)
    room.later(30_000)
    room.tick(most_active=15)
    assert served(room) == (15, 0, 15)
    room.later(31_000)
    room.tick(most_active=15)
    assert served(room) == (25, 10, 15)


def test_those_who_left_are_passed_over(room: Room) -> None:
    for n in (1, 2, 3, 5, *range(9, 41)):
        assert room.leave(f"buyer-{n}", n, n) == ["ok", "left"]
    room.tick(most_active=5)
    assert served(room) == (41, 0, 5)  # 4, 6, 7, 8 and 41
    assert room.reading.blocks.first == 42


def test_one_tick_an_interval_whoever_asks(room: Room) -> None:
    assert room.tick(most_active=1)[0]
    assert room.tick(interval_ms=10_000, most_active=5) == [False, False]
    assert served(room) == (1, 0, 1)
    room.later(10_000)
    assert room.tick(interval_ms=10_000, most_active=5)[0]
    assert served(room) == (5, 0, 5)


@pytest.mark.parametrize("mode", ["pause", "queue_all"])
def test_nobody_is_called_while_operators_say_so(room: Room, mode: str) -> None:
    room.control(mode)
    room.tick()
    assert served(room) == (0, 0, 0)
    room.control("resume")
    room.later(1000)
    room.tick()
    assert served(room) == (10, 0, 10)


def test_no_time_passes_while_all_must_wait(room: Room) -> None:
    room.tick(most_active=10)
    room.control("queue_all")
    room.later(90_000)
    room.tick()
    assert served(room)[1] == 0
    room.control("resume")
    room.tick(most_active=10)
    assert served(room) == (10, 0, 10)
    room.later(61_000)
    room.tick(most_active=10)
    assert served(room)[1] == 10


def test_nobody_is_called_before_the_sale_is_open(room: Room) -> None:
    room.tick(may_call=False)
    assert served(room) == (0, 0, 0)
    assert room.reading.opened == 0
    room.later(1000)
    room.tick()
    assert (served(room), room.reading.opened) == ((10, 0, 10), 1)


def test_nobody_more_is_called_than_the_stock_serves(room: Room) -> None:
    room.tick(most_active=3)
    room.tick(most_active=0, used_places=(1, 2, 3))
    assert served(room) == (3, 0, 0)


def test_the_rate_bounds_a_tick(room: Room) -> None:
    room.client.hset(room.keys.meta, mapping={"rate": 20_000, "tokens": 0})
    room.later(100)
    room.tick(most_active=100)
    assert 2 <= room.reading.serving < 20


def test_the_rate_rises_step_by_step_and_falls_by_a_share(room: Room) -> None:
    room.client.hset(room.keys.meta, "rate", 20_000)
    room.later(1000)
    room.tick(rate_step=5_000, highest_rate=24_000, may_call=False)
    assert room.reading.rate == 24_000
    room.tick(quick=False, highest_rate=24_000, may_call=False)
    assert room.reading.rate == 16_800
    for _ in range(20):
        room.tick(quick=False, highest_rate=24_000, may_call=False)
    assert room.reading.rate == 1_000


def test_an_operators_bound_holds_beside_it(room: Room) -> None:
    room.control("rate", 500)
    room.tick(may_call=False)
    assert room.reading.rate == 500
    room.control("rate", 0)
    room.later(1000)
    room.tick(may_call=False, rate_step=100_000)
    assert room.reading.rate > 500


def test_a_checkpoint_is_due_once_a_second_or_when_many_have_come(room: Room) -> None:
    assert room.tick()[1]
    assert not room.tick()[1]
    room.later(1000)
    assert room.tick()[1]
    room.client.hset(room.keys.meta, "issued", MARGIN // 2 + 1)
    assert room.tick()[1]
    room.tick(checkpointed=MARGIN // 2 + 1)
    assert room.reading.checkpointed == MARGIN // 2 + 1
    assert not room.tick(checkpointed=1)[1]
    assert room.reading.checkpointed == MARGIN // 2 + 1


def test_those_called_together_end_together_in_few_waves(room: Room) -> None:
    for most in range(1, 30):
        room.tick(most_active=most)
    assert len(room.reading.waves) == 1
    room.later(2000)
    room.tick(most_active=40)
    assert [wave.up_to for wave in room.reading.waves] == [29, 40]


def test_ahead_is_counted_without_those_who_left(room: Room) -> None:
    room.tick(most_active=2)
    for n in range(3, 60):
        room.leave(f"buyer-{n}", n, n)
    room.tick(most_active=2)
    blocks = room.reading.blocks
    assert (blocks.first, sum(blocks.counts)) == (3, 57)


@pytest.mark.parametrize(
    "changes",
    [{"used_places": (0,)}, {"most_active": -1}, {"used_places": (1.5,)}, {"stock": -1}],
)
def test_malformed_ticks_change_nothing(room: Room, changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="malformed"):
        room.tick(**changes)
    assert served(room) == (0, 0, 0)
