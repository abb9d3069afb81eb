"""queue_join: a number for every buyer; a buyer who joins again keeps the number."""

from collections.abc import Iterator

import msgspec
import pytest

from gateway.admission.waiting_room.store import JoinRequest
from tests.support.scripts.room import MARGIN, OPENING, Room, of
from tests.support.scripts.server import RedisServer


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    with server.connect() as client:
        made = Room(client)
        assert made.open() == "made"
        yield made


def test_numbers_are_given_in_order_without_a_hole(room: Room) -> None:
    assert room.numbers("ann", "bob") == [1, 2]
    assert room.numbers("cat") == [3]
    assert room.reading.issued == 3


def test_who_comes_again_keeps_the_number(room: Room) -> None:
    room.numbers("ann", "bob", "cat")
    assert room.numbers("cat", "ann", "dan", "bob") == [3, 1, 4, 2]


def test_a_batch_may_name_one_buyer_twice(room: Room) -> None:
    assert room.numbers("ann", "ann", "bob", "ann") == [1, 1, 2, 1]
    assert room.reading.issued == 2


def test_who_left_comes_to_the_end(room: Room) -> None:
    room.numbers("ann", "bob")
    assert room.leave("ann", 1, 1) == ["ok", "left"]
    assert room.numbers("ann") == [3]


def test_a_place_that_is_still_good_is_not_exchanged(room: Room) -> None:
    room.numbers("ann", "bob")
    assert room.numbers(JoinRequest(of("ann"), 1, 1, renew=True)) == [1]
    room.tick(most_active=1)
    assert room.numbers(JoinRequest(of("ann"), 1, 1, renew=True)) == [1]


def test_a_place_that_lapsed_or_was_used_is_exchanged_once(room: Room) -> None:
    room.numbers("ann", "bob", "cat")
    room.tick(most_active=2)
    room.tick(used_places=(2,), most_active=0)
    assert room.numbers(JoinRequest(of("bob"), 2, 2, renew=True)) == [4]
    assert room.numbers(JoinRequest(of("bob"), 2, 2, renew=True)) == [4]
    room.later(61_000)
    assert room.numbers(JoinRequest(of("ann"), 1, 1, renew=True)) == [5]
    assert room.numbers("ann", "bob") == [5, 4]


def test_no_more_numbers_than_the_ledger_can_vouch_for(room: Room) -> None:
    room.client.hset(room.keys.meta, "issued", MARGIN)
    assert room.numbers("ann") == [0]
    assert room.find("ann") == 0
    room.tick(interval_ms=1_000_000, checkpointed=MARGIN)
    assert room.numbers("ann") == [MARGIN + 1]


def test_a_ticket_is_not_believed_while_nothing_was_lost(room: Room) -> None:
    room.numbers("ann", "bob")
    assert room.numbers(JoinRequest(of("eve"), 1, 1)) == [3]


def test_who_knows_an_old_draw_must_look_again(room: Room) -> None:
    assert room.join("ann", drawn=-1) == ["moved", 0]
    assert room.reading.issued == 0


def test_another_run_is_not_served(room: Room) -> None:
    assert room.join("ann", run=b"run-2")[0] == "recovering"
    room.client.delete(room.keys.meta)
    assert room.join("ann")[0] == "recovering"
    room.client.set(room.keys.meta, "x")
    assert room.join("ann")[0] == "recovering"


@pytest.mark.parametrize(
    "batch",
    [[], [3, 0, 0], [2, 0, 0, False], [4, 0, 0, False], [3, -1, 0, False], [3, 0, 0.5, False]],
)
def test_malformed_batches_change_nothing(room: Room, batch: list[object]) -> None:
    keys = (room.keys.meta, room.keys.gone, room.keys.bucket(1))
    packed = msgspec.msgpack.encode(batch)
    assert room.call("queue_join", keys, b"0", b"8 bytes.", packed)[0] == "malformed"
    assert room.reading.issued == 0


def test_a_buyer_costs_few_bytes(room: Room) -> None:
    """The bound of the design, at a small size; `make bench` measures it at a million."""
    buyers = [f"buyer-{n}" for n in range(40_000)]
    for start in range(0, len(buyers), 500):
        room.numbers(*buyers[start : start + 500])
    encodings = {room.client.object("encoding", key) for key in room.client.scan_iter("*buyers*")}
    assert encodings <= {b"listpack", b"ziplist"}
    assert room.numbers(buyers[0], buyers[-1]) == [1, 40_000]


def test_opening_twice_changes_nothing(room: Room) -> None:
    room.numbers("ann")
    assert room.open(OPENING) == "already"
    assert room.numbers("bob") == [2]
