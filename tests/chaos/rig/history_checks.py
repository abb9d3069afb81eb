"""What clients alone can tell: no order of events explains these answers.

The verdict compares answers with the ledger; these checks need nothing but the answers. Each
returns what it found wrong, in words.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import accumulate

from loadtest.client.history import Attempt, History

RESOLVED = frozenset({"confirmed", "cancelled", "expired"})
# What a call answered with 2xx leaves behind; later answers may not say otherwise.
LEFT_BY = {"confirm": "confirmed", "cancel": "cancelled"}
# How far the clients' clock may be from the clock of the deadlines in the answers.
CLOCK_SECONDS = 0.05
FOR_GOOD = float("inf")

# (from, until, units): Unix times between which a buyer surely has so many units.
Held = tuple[float, float, int]


def history_violations(history: History, units: int, limit: int) -> list[str]:
    """Everything wrong with the answers of a sale of `units`, of which each buyer may have `limit`,
    by all checks of this module.
    """
    found = [text for check in CHECKS for text in check(history)]
    return found + oversold(history, units) + over_limit(history, limit)


def shared_ids(history: History) -> list[str]:
    """A reservation id belongs to one buyer and one key."""
    owners: dict[str, set[tuple[str, str]]] = {}
    for a in history.of("reserve"):
        if a.accepted:
            owners.setdefault(a.reservation_id, set()).add((a.buyer_id, a.key))
    return [f"{i} answered to {sorted(who)}" for i, who in owners.items() if len(who) > 1]


def changed_answers(history: History) -> list[str]:
    """What a reservation consists of does not change, and once resolved, neither does its state.

    Refusals count: 410 says that a hold is over, 409 `already_resolved` how. Only answers to
    requests that began after another answer had ended are compared with it: those of concurrent
    requests may come in any order.
    """
    found = []
    for identifier, attempts in _by_reservation(history, _said).items():
        if len({a.units for a in attempts if a.units}) > 1:
            found.append(f"{identifier}: answered with different units")
        resolved, since = "", 0.0
        for a in sorted(attempts, key=_ended_at):
            state = _said(a)
            if resolved and state != resolved and a.started_at >= since:
                found.append(f"{identifier}: {a.call} answered {state} after {resolved}")
            if state in RESOLVED and not resolved:
                resolved, since = state, _ended_at(a)
    return found


def resolved_otherwise(history: History) -> list[str]:
    """Of confirm, cancel and lapse only one ever succeeds."""
    ends: dict[str, set[str]] = {}
    for a in history.attempts:
        if (state := _said(a)) in RESOLVED:
            ends.setdefault(a.reservation_id, set()).add(state)
    return [
        f"{i} was answered as {sorted(states)}" for i, states in ends.items() if len(states) > 1
    ]


def lost_accepts(history: History) -> list[str]:
    """A reservation whose id a caller has received is never answered as unknown later."""
    since: dict[tuple[str, str], float] = {}
    for a in history.of("reserve"):
        if a.accepted:
            place = (a.buyer_id, a.reservation_id)
            since[place] = min(_ended_at(a), since.get(place, _ended_at(a)))
    return [
        f"{a.call} of {a.reservation_id} by its buyer {a.buyer_id}: {a.status} {a.code}"
        for a in history.attempts
        if a.status == 404 and a.started_at >= since.get((a.buyer_id, a.reservation_id), FOR_GOOD)
    ]


def outlived_holds(history: History) -> list[str]:
    """No answer calls a reservation held after the deadline in that same answer."""
    return [
        f"{a.reservation_id}: {a.call} answered held, until {a.expires_at}"
        for a in history.attempts
        if a.accepted and a.state == "held" and a.started_at > _deadline(a) + CLOCK_SECONDS
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
    for identifier, attempts in _by_reservation(history).items():
        first = min(_ended_at(a) for a in attempts)
        owner = next(a.buyer_id for a in attempts)
        until = min(_kept_until(attempts), given_back.get((identifier, owner), FOR_GOOD))
        if until > first:
            yield owner, (first, until, max(a.units for a in attempts))


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


def _said(attempt: Attempt) -> str:
    """The state of its reservation that an answer states or implies, "" for none."""
    if attempt.accepted:
        return attempt.state or LEFT_BY.get(attempt.call, "")
    if attempt.code == "already_resolved":
        return attempt.state
    return "expired" if attempt.code == "hold_expired" else ""


def _is_accepted(attempt: Attempt) -> bool:
    return attempt.accepted


def _by_reservation(
    history: History, of: Callable[[Attempt], object] = _is_accepted
) -> dict[str, list[Attempt]]:
    """The answers about each reservation, by default those with 2xx."""
    found: dict[str, list[Attempt]] = {}
    for a in history.attempts:
        if of(a) and a.reservation_id:
            found.setdefault(a.reservation_id, []).append(a)
    return found


def _ended_at(attempt: Attempt) -> float:
    return attempt.started_at + attempt.seconds


CHECKS: tuple[Callable[[History], list[str]], ...] = (
    shared_ids,
    changed_answers,
    resolved_otherwise,
    lost_accepts,
    outlived_holds,
    late_payments,
)
