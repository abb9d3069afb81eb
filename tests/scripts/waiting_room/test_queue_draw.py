"""queue_draw: its buyers are fixed once, and no place changes until all places are set."""

from collections.abc import Iterator

import msgspec
import pytest

from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.drawing import gone_by_place
from gateway.admission.waiting_room.store import JoinRequest
from tests.support.scripts.room import OPENING, Room, of
from tests.support.scripts.server import RedisServer

BUYERS = [f"buyer-{n}" for n in range(1, 11)]
DRAW = Draw(bytes(32), 10)


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        made.open(msgspec.structs.replace(OPENING, drawn=-1))
        status, numbers = made.join(*BUYERS, drawn=-1)
        assert (status, numbers) == ("ok", list(range(1, 11)))
        yield made


def test_nobody_is_called_before_the_draw(room: Room) -> None:
    room.tick()
    assert room.reading.serving == 0


def test_who_joins_after_the_draw_comes_behind_it(room: Room) -> None:
    assert room.draw(b"begin") == [10, 0]
    assert room.join("late", drawn=10) == ["ok", [11]]
    assert room.draw(b"begin") == [10, 0]
    assert room.join("late", drawn=-1) == ["moved", 10]


def test_between_the_stages_nobody_is_called_and_nobody_leaves(room: Room) -> None:
    room.draw(b"begin")
    room.tick()
    assert room.reading.serving == 0
    assert room.leave("buyer-1", 1, 1, drawn=10) == ["moved", 10]
    assert room.find("buyer-1") == 1


def test_who_left_before_has_no_place_after(room: Room) -> None:
    for n in (2, 5, 9):
        assert room.leave(f"buyer-{n}", n, n, drawn=-1) == ["ok", "left"]
    room.draw(b"begin")
    gone = room.client.getrange(room.keys.gone, 0, 2)
    assert isinstance(gone, bytes)
    room.draw(b"commit", b"10", gone_by_place(DRAW, gone))
    room.tick(most_active=100)
    assert (room.reading.serving, room.reading.active) == (10, 7)
    window = bytes.fromhex(room.reading.window)
    found = {place for place in range(1, 11) if window[place // 8] & (0x80 >> place % 8)}
    assert found == {DRAW.place_of(n) for n in (2, 5, 9)}


def test_places_are_set_once(room: Room) -> None:
    room.draw(b"begin")
    assert room.draw(b"commit", b"9", b"\x00\x00") == [10, 0]
    assert room.draw(b"commit", b"10", b"\x00\x00") == [10, 1]
    assert room.draw(b"commit", b"10", b"\xff\xff") == [10, 1]
    room.tick(most_active=100)
    assert room.reading.active == 10


def test_a_room_takes_the_order_of_its_sale_until_a_place_is_called(room: Room) -> None:
    assert room.draw(b"draw") == [-1, 1]
    assert room.draw(b"fifo") == [0, 1]
    assert room.draw(b"fifo") == [0, 1]
    assert room.draw(b"draw") == [-1, 1]
    room.draw(b"begin")
    assert room.draw(b"fifo") == [10, 0]
    room.draw(b"commit", b"10", b"\x00\x00")
    assert room.draw(b"fifo") == room.draw(b"draw") == [10, 1]


def test_a_room_that_calls_keeps_its_order(room: Room) -> None:
    room.draw(b"fifo")
    room.tick(most_active=1)
    assert room.reading.serving == 1
    assert room.draw(b"draw") == [0, 1]


def test_a_place_that_ended_is_exchanged_after_a_draw_too(room: Room) -> None:
    room.draw(b"begin")
    room.draw(b"commit", b"10", b"\x00\x00")
    room.tick(most_active=1)
    first = DRAW.number_of(1)
    room.tick(most_active=0, used_places=(1,))
    renew = JoinRequest(of(f"buyer-{first}"), first, 1, renew=True)
    assert room.join(renew, drawn=10) == ["ok", [11]]
