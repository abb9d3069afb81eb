"""queue_state: what a look brings, and that its size follows the changes."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from gateway.admission.waiting_room.called import CalledPlaces
from tests.support.scripts.room import OPENING, Room
from tests.support.scripts.server import RedisServer

CALLED = 300_000
FEW_BYTES = 8


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        made.open(msgspec.structs.replace(OPENING, issued=2 * CALLED))
        yield made


def seen(room: Room, called: CalledPlaces) -> int:
    """Look, and return how many bytes of the bitmap and places the look brought."""
    reading = room.look(ended=called.ended, serving=called.serving).reading
    called.take(reading)
    return len(reading.window) // 2 + 8 * len(reading.ended_places)


def test_a_look_brings_what_is_new(room: Room) -> None:
    room.tick(most_active=CALLED)
    called = CalledPlaces()
    assert seen(room, called) <= CALLED // 8 + 1
    assert seen(room, called) <= FEW_BYTES
    room.tick(most_active=CALLED, used_places=(7, 8, CALLED))
    assert room.reading.serving == CALLED + 3
    assert seen(room, called) <= FEW_BYTES + 3 * 8
    assert [place for place in (6, 7, 8, 9, CALLED, CALLED + 1) if called.is_gone(place)] == [
        *(7, 8, CALLED),
    ]


def test_a_worker_that_missed_too_much_reads_all(room: Room) -> None:
    room.tick(most_active=CALLED)
    called = CalledPlaces()
    seen(room, called)
    for first in range(1, 80_001, 20_000):
        room.tick(most_active=0, used_places=tuple(range(first, first + 20_000)))
    reading = room.look(ended=called.ended, serving=called.serving).reading
    assert reading.whole
    called.take(reading)
    assert [called.is_gone(place) for place in (1, 80_000, 80_001)] == [True, True, False]


def test_a_room_made_anew_is_read_whole(room: Room) -> None:
    room.tick(most_active=100, used_places=())
    called = CalledPlaces()
    seen(room, called)
    room.client.flushall()
    room.open(msgspec.structs.replace(OPENING, issued=500, serving=200))
    assert room.look(ended=called.ended, serving=called.serving).reading.whole


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_looks_add_up_to_the_whole(room: Room, seed: int) -> None:
    dice = random.Random(seed)
    called = CalledPlaces()
    gone = 0
    for _ in range(60):
        reading = room.reading
        likely = range(reading.lapsed + 1, reading.serving + 4)
        used = tuple(dice.sample(likely, min(len(likely), dice.randint(0, 5))))
        most, admission_ms = dice.randint(0, 60), dice.randint(1, 4000)
        room.tick(used_places=used, most_active=most, admission_ms=admission_ms)
        room.later(dice.randint(0, 1500))
        if dice.random() < 0.5:
            continue
        seen(room, called)
        reading, whole = room.reading, CalledPlaces()
        whole.take(reading)
        places = range(reading.lapsed + 1, reading.serving + 1)
        bits = [whole.is_gone(place) for place in places]
        assert [called.is_gone(place) for place in places] == bits
        gone += sum(bits)
    assert gone > 0
