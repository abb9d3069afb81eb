"""queue_open: whatever is lost, no number is given out twice, and tickets keep theirs."""

from collections.abc import Iterator

import msgspec
import pytest

from gateway.admission.waiting_room.store import JoinRequest
from tests.support.scripts.room import MARGIN, OPENING, Room, of
from tests.support.scripts.server import RedisServer

BUYERS = [f"buyer-{n}" for n in range(1, 21)]
REOPEN = msgspec.structs.replace(OPENING, existed=True, issued=15, serving=4, lapsed=1)
RUN_2 = b"run-2"


@pytest.fixture
def room(server: RedisServer) -> Iterator[Room]:
    """Twenty have joined, five were called; the ledger heard of fifteen and four."""
    with server.connect() as client:
        made = Room(client)
        made.open()
        made.numbers(*BUYERS)
        made.tick(most_active=5)
        yield made


def lose_everything(room: Room) -> None:
    room.client.flushall()


def test_a_server_that_came_back_whole_goes_on(room: Room) -> None:
    room.later(5000)
    assert room.open(REOPEN, run=RUN_2) == "kept"
    assert room.join("new", "buyer-7", run=RUN_2) == ["ok", [21, 7]]


def test_the_time_it_was_away_is_given_back(room: Room) -> None:
    before = room.reading.waves[0].expires_at - room.reading.now
    room.later(30_000)
    room.open(REOPEN, run=RUN_2)
    room.client.hset(room.keys.meta, "run_id", b"run-1")
    after = room.reading.waves[0].expires_at - room.reading.now
    assert after == before


@pytest.mark.parametrize("lost", ["everything", "answers", "more_than_the_ledger"])
def test_numbering_goes_on_above_what_may_have_been_given_out(room: Room, lost: str) -> None:
    reopen = REOPEN
    if lost == "everything":
        lose_everything(room)
    elif lost == "answers":  # the server may lack some: it did not promise to keep them
        reopen = msgspec.structs.replace(REOPEN, whole=False)
    else:
        reopen = msgspec.structs.replace(REOPEN, issued=30)
    assert room.open(reopen, run=RUN_2) == "resumed"
    # None before the ledger knows where numbering goes on.
    assert room.join("new", run=RUN_2) == ["ok", [0]]
    issued = room.client.hget(room.keys.meta, "issued")
    room.client.hset(room.keys.meta, "checkpointed", issued)
    status, numbers = room.join("new", run=RUN_2)
    assert status == "ok"
    assert numbers[0] > max(15 if lost == "everything" else 20, reopen.issued) + MARGIN


def test_a_ticket_keeps_its_number_and_claims_it_again(room: Room) -> None:
    lose_everything(room)
    room.open(REOPEN)
    assert room.reading.serving == 4
    assert room.numbers(JoinRequest(of("buyer-19"), 19, 19)) == [19]
    assert room.numbers(JoinRequest(of("buyer-8"), 8, 8)) == [8]
    assert room.numbers("buyer-8") == [8]
    room.later(21_000)
    room.tick(most_active=5)
    # Buyers called before keep their slots; next are the others who came back.
    assert (room.reading.serving, room.reading.active) == (19, 5)


def test_nobody_is_called_before_those_in_front_could_come_back(room: Room) -> None:
    lose_everything(room)
    room.open(REOPEN)
    room.numbers(JoinRequest(of("buyer-8"), 8, 8))
    room.later(10_000)
    room.tick()
    assert room.reading.serving == 4
    room.later(11_000)
    room.tick()
    assert room.reading.serving >= 8


def test_the_gap_is_nobodys_place(room: Room) -> None:
    lose_everything(room)
    room.open(REOPEN)
    room.vouch()
    first = room.numbers("new")[0]
    assert first == 15 + MARGIN + 1
    room.later(21_000)
    room.tick(most_active=100)
    assert (room.reading.serving, room.reading.active) == (first, 4)


def test_who_was_called_before_the_loss_has_a_slot_again(room: Room) -> None:
    lose_everything(room)
    room.open(REOPEN)
    room.vouch()
    assert room.reading.waves[0].up_to == 4
    assert room.numbers(JoinRequest(of("buyer-3"), 3, 3)) == [3]
    # The place lapsed before: a new one, at the end.
    assert room.numbers(JoinRequest(of("buyer-1"), 1, 1))[0] > MARGIN


def test_two_workers_open_a_room_once(room: Room) -> None:
    lose_everything(room)
    assert room.open(REOPEN) == "resumed"
    assert room.open(REOPEN) == "already"


def test_what_operators_had_set_is_set_again(room: Room) -> None:
    lose_everything(room)
    room.open(msgspec.structs.replace(REOPEN, mode="paused", rate_limit=7000))
    assert (room.reading.mode, room.reading.rate_limit) == ("paused", 7000)


def test_the_negative_control_without_the_margin_a_number_is_given_twice(room: Room) -> None:
    """Shows that the loss above matters: unnoticed, number 16 would have two owners."""
    lose_everything(room)
    assert room.open(msgspec.structs.replace(REOPEN, existed=False)) == "made"
    assert room.numbers("somebody else") == [16]
