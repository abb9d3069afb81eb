"""Where in the log answers were given, and what could be had there, from made-up logs."""

import pytest

from loadtest.client.history import NO_ANSWER, Attempt, History
from loadtest.verdict.log.order import BEGINNING, END, LogOrder, Place, Step, Window
from loadtest.verdict.log.possession import BuyerMove, Possession
from loadtest.verdict.log.shortage import Floors, StockMove, shortages


def attempt(call: str, buyer: str, second: float, status: int = 201, **facts: object) -> Attempt:
    """A call that took half a second, about the buyer's only reservation."""
    known: dict[str, object] = {"reservation_id": f"s.0.{buyer}"}
    if call == "reserve":
        known = {"key": "k"} if status >= 400 or status == NO_ANSWER else known | {"key": "k"}
    return Attempt(call, "buyer", buyer, status, second, 0.5, **(known | facts))  # type: ignore[arg-type]


def order_of(
    *attempts: Attempt,
    steps: tuple[Step, ...],
    epochs: tuple[int, ...] = (1,),
    complete: bool = True,
) -> LogOrder:
    history = History(complete=complete)
    for one in attempts:
        history.add(one)
    requested = {(a.buyer_id, a.key): f"s.0.{a.buyer_id}" for a in history.of("reserve")}
    return LogOrder(steps, epochs, history, requested)


def step(event_type: str, buyer: str, sequence: int, epoch: int = 1) -> Step:
    return Step((epoch, sequence), event_type, f"s.0.{buyer}")


STEPS = (
    step("reserve", "ann", 3),
    step("reserve", "ben", 4),
    step("confirm", "ann", 5),
    step("expire", "ben", 6),
    step("reserve", "cleo", 7),
)
ANSWERS = (
    attempt("reserve", "ann", 1),
    attempt("reserve", "ben", 2),
    attempt("confirm", "ann", 3, 200),
    attempt("read", "ben", 4, 200, state="expired"),
    attempt("reserve", "cleo", 5),
)


def refused_at(second: float) -> Attempt:
    return attempt("reserve", "zoe", second, 409, code="sold_out", sku="shoe")


@pytest.mark.parametrize(
    ("second", "window"),
    [
        (0.6, Window(BEGINNING, (1, 4))),  # Ann's reserve is under way, Ben's comes later
        (1.6, Window((1, 3), (1, 5))),  # Ben's reserve is under way
        (3.7, Window((1, 5), (1, 7))),  # nobody asks for an expiry
        (4.6, Window((1, 6), END)),  # but who was answered that it is over knows of it
        (6.0, Window((1, 7), END)),
    ],
)
def test_an_answer_lies_between_what_was_told_and_what_was_asked_for_later(
    second: float, window: Window
) -> None:
    order = order_of(*ANSWERS, steps=STEPS)
    assert order.window(refused_at(second)) == window


def test_where_others_may_have_asked_nothing_bounds_an_answer_from_behind() -> None:
    order = order_of(*ANSWERS, steps=STEPS, complete=False)
    assert order.window(refused_at(1.6)) == Window((1, 3), END)


def test_a_call_without_an_answer_may_have_been_received() -> None:
    unheard = attempt("reserve", "cleo", 1, NO_ANSWER)
    order = order_of(*ANSWERS, unheard, steps=STEPS)
    assert order.window(refused_at(3.7)).before == END


def test_an_honest_order_has_no_violations() -> None:
    assert order_of(*ANSWERS, steps=STEPS).violations() == []


def test_an_expiry_that_was_answered_without_an_event_is_found() -> None:
    """The sweep writes it later, behind what was asked for after the answer."""
    late = (*STEPS[:3], step("reserve", "cleo", 6), step("expire", "ben", 7))
    (found,) = order_of(*ANSWERS, steps=late).violations()
    assert found.startswith("reserve of s.0.cleo is 1-6")
    assert "expire of s.0.ben had been answered, which is 1-7" in found


def test_of_concurrent_calls_any_may_be_first() -> None:
    answers = (attempt("reserve", "ann", 1), attempt("reserve", "ben", 1.4))
    steps = (step("reserve", "ben", 3), step("reserve", "ann", 4))
    assert order_of(*answers, steps=steps).violations() == []


def is_judged(*lost: Attempt, epochs: tuple[int, ...] = (1, 2)) -> bool:
    refused = refused_at(6.0)
    order = order_of(*ANSWERS, refused, *lost, steps=STEPS, epochs=epochs)
    return order.is_certain(refused, order.window(refused))


def test_at_the_end_of_an_epoch_a_refusal_may_be_due_to_what_was_lost() -> None:
    unheard = attempt("reserve", "dan", 5.9, NO_ANSWER)
    assert is_judged()
    assert is_judged(unheard, epochs=(1,))
    assert not is_judged(unheard)
    assert is_judged(attempt("reserve", "dan", 6.6, NO_ANSWER)), "it was sent later"


def test_a_log_that_contradicts_the_calls_is_not_used_for_refusals() -> None:
    steps = (step("reserve", "ann", 9), step("reserve", "cleo", 7))
    order = order_of(*ANSWERS, steps=steps)
    refused = refused_at(3.7)
    assert not order.is_certain(refused, order.window(refused))
    assert len(order.violations()) == 1


FLOORS = {"shoe": Floors(0, {"north": 0, "south": 0})}


def short(*moves: tuple[int, int], quantity: int, window: Window) -> bool:
    """Whether so many units were short; each move is a sequence number and units."""
    log = [StockMove((1, sequence), "shoe", "north", units) for sequence, units in moves]
    return shortages(log, FLOORS, {"shoe": {quantity}})["shoe", quantity].overlaps(window)


MOVES = ((1, 2), (5, -2), (8, 1), (9, 1))


@pytest.mark.parametrize(
    ("first", "before", "one", "two"),
    [
        ((1, 1), (1, 5), False, False),  # not yet
        ((1, 4), (1, 6), True, True),
        ((1, 5), END, True, True),
        ((1, 8), (1, 9), False, True),  # one is back
        ((1, 9), END, False, False),  # both are
        (BEGINNING, (1, 1), False, False),  # nothing is loaded yet
    ],
)
def test_units_are_short_from_the_event_that_takes_them_to_the_event_that_returns_them(
    first: Place, before: Place, one: bool, two: bool
) -> None:
    window = Window(first, before)
    assert short(*MOVES, quantity=1, window=window) is one
    assert short(*MOVES, quantity=2, window=window) is two


def test_units_of_one_event_move_together() -> None:
    log = [
        StockMove((1, 1), "shoe", "north", 1),
        StockMove((1, 2), "shoe", "north", -1),
        StockMove((1, 2), "shoe", "south", 1),
    ]
    found = shortages(log, FLOORS, {"shoe": {1}})
    assert not found["shoe", 1].overlaps(Window((1, 1), END))


@pytest.mark.parametrize(
    ("floors", "available", "quantity", "allowed"),
    [
        (Floors(0, {"north": 0}), {"north": 2}, 2, True),
        (Floors(1, {"north": 1}), {"north": 2}, 2, False),
        (Floors(-1, {"north": -1}), {"north": 2}, 3, True),
        (Floors(0, {"north": 0, "south": 0}), {"north": 1, "south": 1}, 2, False),
        (Floors(0, {"north": 0, "south": 0}), {"north": 0, "south": 2}, 2, True),
        (Floors(1, {"north": 0, "south": 0}), {"north": 0, "south": 2}, 2, False),
    ],
)
def test_a_reserve_finds_units_above_the_floor_at_one_location(
    floors: Floors, available: dict[str, int], quantity: int, allowed: bool
) -> None:
    assert floors.allow(quantity, available) is allowed


@pytest.mark.parametrize(
    ("first", "before", "most"),
    [
        (BEGINNING, (1, 2), 0),
        (BEGINNING, (1, 4), 2),
        ((1, 3), (1, 9), 2),  # had when the window began
        ((1, 6), (1, 7), 0),
        ((1, 6), END, 1),
    ],
)
def test_what_a_buyer_had_counts_from_the_state_the_window_begins_in(
    first: Place, before: Place, most: int
) -> None:
    moves = [BuyerMove((1, n), "ann", "shoe", units) for n, units in ((3, 2), (5, -2), (8, 1))]
    assert Possession(moves).most("ann", "shoe", Window(first, before)) == most
    assert Possession(moves).most("ben", "shoe", Window(first, before)) == 0
