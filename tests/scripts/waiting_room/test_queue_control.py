"""queue_control and queue_state: what operators ask, and what a worker sees."""

from collections.abc import Iterator

import pytest

from tests.support.scripts.room import Room
from tests.support.scripts.server import RedisServer


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        made.open()
        yield made


def test_modes_and_rates_are_told_and_kept(room: Room) -> None:
    assert room.control("pause") == ["paused", 0]
    assert room.control("rate", 1500) == ["paused", 1500]
    assert room.control("queue_all") == ["queue_all", 1500]
    assert room.control("resume") == ["open", 1500]
    assert (room.reading.mode, room.reading.rate_limit) == ("open", 1500)


@pytest.mark.parametrize(("verb", "rate"), [("stop", 0), ("rate", -1)])
def test_malformed_calls_change_nothing(room: Room, verb: str, rate: int) -> None:
    with pytest.raises(AssertionError, match="malformed"):
        room.control(verb, rate)
    assert room.reading.mode == "open"


def test_looking_writes_nothing_and_its_size_does_not_grow_with_the_line(room: Room) -> None:
    names = [f"buyer-{n}" for n in range(1000)]
    before = len(room.client.dump(room.keys.meta) or b"")
    room.look()
    assert len(room.client.dump(room.keys.meta) or b"") == before
    room.numbers(*names)
    assert len(room.client.dump(room.keys.meta) or b"") <= before + 16
