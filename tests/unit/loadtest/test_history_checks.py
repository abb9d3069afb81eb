"""Each check of the clients' answers finds what it is for, and nothing in an honest history."""

from datetime import UTC, datetime

import pytest

from loadtest.client.history import NO_ANSWER, Attempt, History
from loadtest.verdict.answers.rules import history_violations

UNITS = 2
LIMIT = 1
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
IN_A_MINUTE = "2026-11-21T12:01:00.000Z"
IN_TWO_MINUTES = "2026-11-21T12:02:00.000Z"


def attempt(call: str, buyer: str, second: float, status: int = 200, **facts: object) -> Attempt:
    """A call at noon plus `second`, which took a tenth of a second, about the buyer's own hold."""
    known: dict[str, object] = {"reservation_id": f"s.0.{buyer}", "units": 1, "state": "held"}
    if status >= 400 or status == NO_ANSWER:
        known = {"reservation_id": f"s.0.{buyer}"}
    if call == "reserve":
        known |= {"key": "k", "expires_at": IN_A_MINUTE}
    facts = known | facts
    caller = "storefront" if call == "confirm" else "buyer"
    started = NOON.timestamp() + second
    return Attempt(call, caller, buyer, status, started, 0.1, **facts)  # type: ignore[arg-type]


def listing(buyer: str, second: float, *shown: str) -> Attempt:
    """A list of the buyer's orders at noon plus `second`; its orders are attempts of their own."""
    return attempt("list", buyer, second, shown=shown, reservation_id="", units=0, state="")


HONEST = (
    attempt("reserve", "ann", 0, 201),
    attempt("reserve", "ann", 1, 201, replayed=True),
    attempt("reserve", "ben", 2, 201),
    attempt("cancel", "ben", 3, state="cancelled", expires_at=IN_A_MINUTE),
    attempt("reserve", "cleo", 4, 201),
    attempt("confirm", "ann", 5, state="confirmed"),
    attempt("read", "ben", 6, 404, reservation_id="s.0.ann"),
    attempt("read", "ann", 7, state="confirmed"),
    listing("ann", 7.5, "s.0.ann"),
    attempt("list", "ann", 7.5, state="confirmed"),
    attempt("cancel", "cleo", 8, NO_ANSWER),
    attempt("reserve", "dan", 9, 201),
    attempt("cancel", "dan", 70, 410, code="hold_expired"),
    attempt("reserve", "eve", 71, 201, expires_at=IN_TWO_MINUTES),
)
LIES = {
    "one id for two buyers": attempt("reserve", "eve", 72, 201, reservation_id="s.0.ann"),
    "a confirmed one expired": attempt("read", "ann", 72, state="expired"),
    "a cancelled one is back": attempt("read", "ben", 72, state="held"),
    "a cancelled one confirmed": attempt("confirm", "ben", 72, state="confirmed"),
    "an accepted one forgotten": attempt("read", "eve", 72, 404),
    "a lapsed one is back": attempt("read", "dan", 72, expires_at=IN_TWO_MINUTES),
    "a lapsed one is paid for": attempt(
        "confirm", "dan", 72, state="confirmed", expires_at=IN_TWO_MINUTES
    ),
    "a payment that was taken is late": attempt("confirm", "ann", 72, 410, code="hold_expired"),
    "a cancelled one lapsed": attempt("extend", "ben", 72, 410, code="hold_expired"),
    "a confirmed one was cancelled": attempt(
        "cancel", "ann", 72, 409, code="already_resolved", state="cancelled"
    ),
    "other units than before": attempt("read", "eve", 72, units=2),
    "held when the hold is over": attempt("read", "cleo", 72, expires_at=IN_A_MINUTE),
    "paid for when the hold was over": attempt(
        "confirm", "dan", 72, state="confirmed", expires_at=IN_A_MINUTE
    ),
    "two for one who may have one": attempt(
        "reserve", "ann", 72, 201, key="l", reservation_id="s.0.more", expires_at=IN_TWO_MINUTES
    ),
    "one more than there are": attempt("reserve", "fay", 72, 201, expires_at=IN_TWO_MINUTES),
    "another reservation for a key": attempt(
        "reserve", "eve", 72, 201, reservation_id="s.0.more", expires_at=IN_TWO_MINUTES
    ),
    "a known key is sold out": attempt("reserve", "ann", 72, 409, code="sold_out"),
    "a known key is over the limit": attempt("reserve", "ann", 72, 409, code="limit_exceeded"),
    "a lapsed one is among the own holds": attempt(
        "reserve", "dan", 72, 409, key="l", code="sold_out", reservation_id="", shown=("s.0.dan",)
    ),
    "a cancelled one is listed as paid for": attempt("list", "ben", 72, state="confirmed"),
    "an end that moved after all": attempt(
        "read", "ben", 72, state="cancelled", expires_at=IN_TWO_MINUTES
    ),
    "an end that came nearer": attempt("read", "eve", 72, expires_at=IN_A_MINUTE, units=1),
    "an order that was listed before": listing("ann", 72),
}


TOLD = {
    "one id for two buyers": "answered to",
    "a confirmed one expired": "answered expired after",
    "a cancelled one is back": "answered held after",
    "a cancelled one confirmed": "was answered as",
    "an accepted one forgotten": "404",
    "a lapsed one is back": "answered held after expired",
    "a lapsed one is paid for": "answered confirmed after expired",
    "a payment that was taken is late": "answered expired after confirmed",
    "a cancelled one lapsed": "answered expired after cancelled",
    "a confirmed one was cancelled": "answered cancelled after confirmed",
    "other units than before": "different units",
    "held when the hold is over": "answered held, until",
    "paid for when the hold was over": "paid for, though",
    "two for one who may have one": "ann was promised 2",
    "one more than there are": "units were promised at once",
    "another reservation for a key": "key k: s.0.eve, then s.0.more",
    "a known key is sold out": "key k: sold_out after s.0.ann",
    "a known key is over the limit": "key k: limit_exceeded after s.0.ann",
    "a lapsed one is among the own holds": "reserve answered held after expired",
    "a cancelled one is listed as paid for": "list answered confirmed after cancelled",
    "an end that moved after all": "resolved, and answered to end at",
    "an end that came nearer": "answered an end at",
    "an order that was listed before": "no longer in the orders of buyer ann",
}


def history_of(*attempts: Attempt) -> History:
    history = History(complete=True)
    for one in attempts:
        history.add(one)
    return history


def test_an_honest_history_has_no_violations() -> None:
    assert history_violations(history_of(*HONEST), UNITS, LIMIT) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    found = history_violations(history_of(*HONEST, LIES[lie]), UNITS, LIMIT)
    assert [text for text in found if TOLD[lie] in text], found


def test_a_payment_told_of_in_time_may_be_answered_late() -> None:
    unheard = attempt("confirm", "dan", 59, NO_ANSWER)
    heard = attempt("confirm", "dan", 72, state="confirmed", expires_at=IN_A_MINUTE)
    assert history_violations(history_of(*HONEST[:-2], unheard, heard), UNITS, LIMIT) == []


def test_answers_of_concurrent_calls_may_come_in_any_order() -> None:
    at_once = attempt("read", "ann", 5.05, state="held")
    assert history_violations(history_of(*HONEST, at_once), UNITS, LIMIT) == []


def test_a_list_may_be_older_than_the_answers_before_it() -> None:
    behind = attempt("list", "ben", 72, state="held", expires_at=IN_A_MINUTE)
    assert history_violations(history_of(*HONEST, behind), UNITS, LIMIT) == []


def test_a_hold_may_end_later_than_it_was_answered_to() -> None:
    moved = attempt("read", "eve", 72, expires_at="2026-11-21T12:03:00.000Z")
    assert history_violations(history_of(*HONEST, moved), UNITS, LIMIT) == []


def test_a_key_under_way_may_be_refused_as_if_it_were_new() -> None:
    at_once = attempt("reserve", "eve", 71.05, 409, code="sold_out", reservation_id="")
    assert history_violations(history_of(*HONEST, at_once), UNITS, LIMIT) == []


def test_another_request_under_a_known_key_is_refused() -> None:
    lines = {"wanted": (("shoe", 1),)}, {"wanted": (("shoe", 2),)}
    first = attempt("reserve", "fay", 72, 201, expires_at=IN_TWO_MINUTES, key="f", **lines[0])
    other = attempt("reserve", "fay", 73, 422, key="f", code="idempotency_key_reused", **lines[1])
    known = attempt("reserve", "fay", 74, 422, key="f", code="idempotency_key_reused", **lines[0])
    assert history_violations(history_of(first, other), UNITS, LIMIT) == []
    assert history_violations(history_of(first, known), UNITS, LIMIT) != []
