"""Answers against time: for runs whose clients and servers share a machine, and so a clock.

Elsewhere the log decides, on Redis' clock: the checkers of limits, deadlines and stock judge these
rules from the events. Each rule returns what it found wrong, in words.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import accumulate

from loadtest.client.history import Attempt, History

# How far the clients' clock may be from the clock of the deadlines in the answers.
CLOCK_SECONDS = 0.05
FOR_GOOD = float("inf")

# (from, until, units): Unix times between which a buyer surely has so many units.
Held = tuple[float, float, int]


def outlived_holds(history: History) -> list[str]:
    """No answer calls a reservation held after the deadline in that same answer.

    A list is exempt: it comes from the ledger, which follows Redis.
    """
    return [
        f"{a.reservation_id}: {a.call} answered held, until {a.expires_at}"
        for a in history.attempts
        if a.accepted and a.state == "held" and a.call != "list"
        if a.started_at > _deadline(a) + CLOCK_SECONDS
    ]


def late_payments(history: History) -> list[str]:
    """No payment is accepted whose first confirm was sent after the hold's end."""
    told: dict[str, float] = {}
    # Unanswered calls count too: the gateway may have received them.
    for a in history.of("confirm"):
        told[a.reservation_id] = min(a.started_at, told.get(a.reservation_id, FOR_GOOD))
    return [
        f"{a.reservation_id}: paid for, though its hold ended at {a.expires_at}"
        for a in history.of("confirm")
        if a.accepted and told[a.reservation_id] > _deadline(a) + CLOCK_SECONDS
    ]


def oversold(history: History, units: int) -> list[str]:
    """At no moment do buyers surely have more units in total than the sale."""
    most = _most(held for _, held in _surely_held(history))
    return [f"{most} units were promised at once, of {units}"] if most > units else []


def over_limit(history: History, limit: int) -> list[str]:
    """At no moment does a buyer surely have more units than the limit."""
    by_buyer: dict[str, list[Held]] = {}
    for buyer, held in _surely_held(history):
        by_buyer.setdefault(buyer, []).append(held)
    most_of = {buyer: _most(helds) for buyer, helds in by_buyer.items()}
    return [
        f"{buyer} was promised {most} units at once, of {limit}"
        for buyer, most in most_of.items()
        if most > limit
    ]


def _surely_held(history: History) -> Iterator[tuple[str, Held]]:
    """For each reservation: the buyer, and the interval in which its units are surely the buyer's.

    The interval begins with the answer and ends when a cancel is sent or the last known deadline
    passes; it has no end once a confirm was answered.
    """
    given_back: dict[tuple[str, str], float] = {}
    # Unanswered calls count too: the gateway may have received them.
    for a in history.of("cancel"):
        place = (a.reservation_id, a.buyer_id)
        given_back[place] = min(a.started_at, given_back.get(place, a.started_at))
    for identifier, attempts in _accepted(history).items():
        first = min(a.ended_at for a in attempts)
        owner = next(a.buyer_id for a in attempts)
        until = min(_kept_until(attempts), given_back.get((identifier, owner), FOR_GOOD))
        if until > first:
            yield owner, (first, until, max(a.units for a in attempts))


def _accepted(history: History) -> dict[str, list[Attempt]]:
    """The answers with 2xx about each reservation."""
    found: dict[str, list[Attempt]] = {}
    for a in history.attempts:
        if a.accepted and a.reservation_id:
            found.setdefault(a.reservation_id, []).append(a)
    return found


def _most(helds: Iterable[Held]) -> int:
    """The largest number of units at any moment."""
    changes: list[tuple[float, int]] = []
    for since, until, quantity in helds:
        changes += [(since, quantity), (until, -quantity)]
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def _deadline(attempt: Attempt) -> float:
    """The deadline in this answer (Unix time); infinity where the answer has none."""
    told = attempt.expires_at
    return datetime.fromisoformat(told).timestamp() if told else FOR_GOOD


def _kept_until(attempts: list[Attempt]) -> float:
    """The earliest time at which the units may have returned by expiry (Unix time)."""
    if any(a.call == "confirm" for a in attempts):
        return FOR_GOOD
    told = [_deadline(a) for a in attempts if a.expires_at]
    return max(told, default=0.0) - CLOCK_SECONDS
