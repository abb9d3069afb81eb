"""queue_leave and queue_find: places given up, and places taken away."""

from collections.abc import Iterator

import pytest

from tests.support.scripts.room import Room, of
from tests.support.scripts.server import RedisServer


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        made.open()
        made.numbers("ann", "bob", "cat")
        yield made


def test_a_place_is_given_up_once(room: Room) -> None:
    assert room.find("bob") == 2
    assert room.leave("bob", 2, 2) == ["ok", "left"]
    assert room.leave("bob", 2, 2) == ["ok", "unknown"]
    assert room.find("bob") == 0


def test_nobody_gives_up_anothers_place(room: Room) -> None:
    assert room.leave("eve", 2, 2) == ["ok", "unknown"]
    assert room.leave("bob", 1, 1) == ["ok", "unknown"]
    assert (room.find("ann"), room.find("bob")) == (1, 2)
    room.tick(most_active=3)
    assert room.reading.active == 3


def test_a_slot_given_up_is_free(room: Room) -> None:
    room.tick(most_active=2)
    room.leave("ann", 1, 1)
    assert room.reading.active == 1


def test_a_revoked_buyer_stays_known(room: Room) -> None:
    before = room.look()
    assert before.revoked == ()
    assert room.leave("bob", 2, 2, "revoke") == ["ok", "revoked"]
    assert room.leave("eve", 0, 0, "revoke") == ["ok", "revoked"]
    after = room.look(before.reading.revision)
    assert set(after.revoked or ()) == {of("bob").field.hex(), of("eve").field.hex()}
    assert room.look(after.reading.revision).revoked is None


def test_revoked_buyers_are_bounded(room: Room) -> None:
    room.client.hset(room.keys.revoked, mapping={str(n): 1 for n in range(1000)})
    assert room.leave("bob", 2, 2, "revoke") == ["ok", "too_many"]
    assert room.find("bob") == 2


@pytest.mark.parametrize(("number", "place", "verb"), [(-1, 1, "leave"), (1, 1, "kick")])
def test_malformed_calls_change_nothing(room: Room, number: int, place: int, verb: str) -> None:
    assert room.leave("ann", number, place, verb)[0] == "malformed"
    assert room.find("ann") == 1


def test_who_knows_an_old_draw_must_look_again(room: Room) -> None:
    assert room.leave("ann", 1, 1, drawn=5) == ["moved", 0]
