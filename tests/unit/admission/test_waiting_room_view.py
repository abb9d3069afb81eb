"""What a buyer in line is answered, from one reading of the room."""

import msgspec
import pytest

from gateway.admission.waiting_room.called import CalledPlaces
from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.store import GoneBlocks, RoomReading, Wave
from gateway.admission.waiting_room.view import Ended, QueueState, RoomView
from gateway.inventory.types import SaleState

NOW = 1_800_000_000_000
FACTS = RoomFacts(
    sale_id="drop",
    hash_key=b"k" * 32,
    state=SaleState.OPEN,
    opened=True,
    partitions=(),
    floors={},
    units={},
    max_active_buyers=100,
    admission_ms=60_000,
    opens_at_ms=0,
    prequeue_at_ms=0,
    draws=False,
)
READING = RoomReading(
    now=NOW,
    mode="open",
    opened=1,
    issued=10_000,
    serving=100,
    lapsed=50,
    drawn=0,
    placed=1,
    lost=0,
    hold_until=0,
    checkpointed=10_000,
    ticked_at=NOW,
    rate=10_000,
    rate_limit=0,
    outflow=10_000,
    outflow_slow=10_000,
    stock=1000,
    returnable=200,
    revision=1,
    active=50,
    waves=(Wave(80, NOW + 10_000, NOW - 50_000), Wave(100, NOW + 60_000, NOW)),
    blocks=GoneBlocks(101, 4096, (0, 0, 0)),
    cursors=(),
    window_first=48,
    window="00" * 7,
)


def view_of(facts: RoomFacts = FACTS, draw: Draw | None = None, **changes: object) -> RoomView:
    reading = msgspec.structs.replace(READING, **changes)
    called = CalledPlaces()
    called.take(reading)
    return RoomView(facts, reading, draw, poll_most_seconds=30, called=called)


def facts_of(**changes: object) -> RoomFacts:
    return msgspec.structs.replace(FACTS, **changes)


def test_a_place_that_was_called_is_admitted_until_its_wave_ends() -> None:
    early, late = view_of().standing(80, NOW), view_of().standing(81, NOW)
    assert (early.state, early.expires_at_ms) == (QueueState.ADMITTED, NOW + 10_000)
    assert (late.state, late.expires_at_ms) == (QueueState.ADMITTED, NOW + 60_000)


def test_only_a_place_called_by_this_reading_can_be_gone() -> None:
    view = view_of(window="00" * 6 + "ff", serving=100)
    assert [view.is_gone(place) for place in (95, 96, 100, 101, 103, 104)] == [
        *(False, True, True, False, False, False),
    ]


@pytest.mark.parametrize(("number", "now"), [(50, NOW), (1, NOW), (80, NOW + 10_000)])
def test_a_place_ends_with_its_time(number: int, now: int) -> None:
    with pytest.raises(Ended):
        view_of().standing(number, now)


def test_a_place_that_is_gone_has_ended() -> None:
    bits = bytearray(7)
    bits[(60 - 48) // 8] |= 0x80 >> 60 % 8
    view = view_of(window=bits.hex())
    with pytest.raises(Ended):
        view.standing(60, NOW)
    assert view.standing(61, NOW).state is QueueState.ADMITTED


def test_who_waits_is_told_the_truth() -> None:
    told = view_of().standing(601, NOW)
    assert (told.state, told.position, told.ahead) == (QueueState.WAITING, 601, 500)
    assert told.wait_seconds is not None
    likely, low, high = told.wait_seconds
    assert low < likely == 50 < high
    assert not told.likely_too_late


def test_too_late_is_beyond_what_is_left_and_may_return() -> None:
    # 1,200 units, 50 inside: the one with 1,149 ahead is the last who may hope.
    assert not view_of().standing(101 + 1149, NOW).likely_too_late
    assert view_of().standing(101 + 1150, NOW).likely_too_late


def test_those_who_left_are_not_ahead() -> None:
    view = view_of(blocks=GoneBlocks(101, 4096, (4096, 1000, 0)))
    assert view.ahead_of(101 + 4096) == 0
    assert view.ahead_of(101 + 2 * 4096) == 3096
    assert view.ahead_of(101 + 2048) == 0
    assert view.waiting == 9_900 - 5_096


def test_the_range_is_wide_where_the_outflow_changes() -> None:
    steady = view_of().standing(601, NOW).wait_seconds
    uneven = view_of(outflow=20_000, outflow_slow=5_000).standing(601, NOW).wait_seconds
    assert steady is not None
    assert uneven is not None
    assert uneven[2] - uneven[1] > steady[2] - steady[1]


def test_nothing_is_said_where_nobody_was_let_in_yet() -> None:
    assert view_of(outflow=0, outflow_slow=0).standing(601, NOW).wait_seconds is None


def test_polls_are_rarer_the_further_it_is() -> None:
    polls = [view_of().standing(place, NOW).poll_after_seconds for place in (102, 601, 9_000)]
    assert polls[0] <= 2 < polls[1] < polls[2] <= 30


def test_polls_before_the_opening_follow_the_clock() -> None:
    facts = facts_of(opened=False, state=SaleState.SCHEDULED, opens_at_ms=NOW + 40_000)
    far = view_of(facts, opened=0, serving=0, lapsed=0, waves=()).standing(5, NOW)
    near = view_of(facts, opened=0, serving=0, lapsed=0, waves=()).standing(5, NOW + 39_000)
    assert near.poll_after_seconds == 2 < far.poll_after_seconds <= 10
    assert far.wait_seconds is None


@pytest.mark.parametrize("number", [60, 601])
def test_all_are_told_that_nothing_is_left(number: int) -> None:
    view = view_of(stock=0, returnable=0)
    assert view.standing(number, NOW).state is QueueState.SOLD_OUT
    assert view_of(stock=0, returnable=1).standing(601, NOW).state is QueueState.WAITING


@pytest.mark.parametrize("number", [1, 60, 601])
def test_all_are_told_that_it_is_over(number: int) -> None:
    view = view_of(facts_of(state=SaleState.CLOSED))
    assert view.standing(number, NOW).state is QueueState.CLOSED


def test_all_wait_while_an_operator_says_so_and_none_ends() -> None:
    told = view_of(mode="queue_all").standing(80, NOW + 600_000)
    assert (told.state, told.ahead) == (QueueState.WAITING, 0)


def test_before_a_draw_nobody_has_a_position() -> None:
    facts = facts_of(draws=True, opened=False, state=SaleState.SCHEDULED)
    told = view_of(facts, drawn=-1, opened=0).standing(5, NOW)
    assert (told.state, told.position, told.ahead) == (QueueState.WAITING, None, None)


def test_after_a_draw_places_are_the_draws_and_then_the_numbers() -> None:
    draw = Draw(bytes(32), 5000)
    view = view_of(facts_of(draws=True), draw, drawn=5000)
    assert [view.place_of(n) for n in (1, 5000, 5001)] == [
        draw.place_of(1),
        draw.place_of(5000),
        5001,
    ]
    assert view_of(facts_of(draws=True), drawn=0).place_of(1) == 1
    assert view_of(facts_of(draws=True), draw, drawn=5000, placed=0).place_of(1) is None
