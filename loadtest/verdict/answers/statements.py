"""What an answer says about a reservation, whatever call it answers.

An answer speaks of the moment it was given, so two answers are compared only where the second
request began after the first answer had ended: answers of concurrent requests come in any order.
A list of orders comes from the ledger, which follows Redis: its `held` may be old, and says
nothing; what it calls resolved is resolved.
"""

from collections.abc import Iterator
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from loadtest.client.history import Attempt, History

HELD = "held"
RESOLVED = frozenset({"confirmed", "cancelled", "expired"})
# What a call answered with 2xx leaves behind; later answers may not say otherwise.
LEFT_BY = {"confirm": "confirmed", "cancel": "cancelled"}


class Statement(NamedTuple):
    """An answer that speaks of a reservation; `state` is "" where it states none."""

    reservation_id: str
    state: str
    attempt: Attempt

    @property
    def is_resolved(self) -> bool:
        """Whether the answer says that the reservation is resolved."""
        return self.state in RESOLVED


def said(attempt: Attempt) -> str:
    """The state of its reservation that an answer states or implies, "" for none."""
    if attempt.accepted:
        state = attempt.state or LEFT_BY.get(attempt.call, "")
        return "" if attempt.call == "list" and state == HELD else state
    if attempt.code == "already_resolved":
        return attempt.state
    return "expired" if attempt.code == "hold_expired" else ""


def statements(history: History) -> Iterator[Statement]:
    """Everything that was answered about reservations, the own holds in refusals included."""
    for a in history.attempts:
        state = said(a)
        if a.reservation_id and (state or a.accepted):
            yield Statement(a.reservation_id, state, a)
        if a.call == "reserve":
            for identifier in a.shown:
                yield Statement(identifier, HELD, a)


def by_reservation(history: History) -> dict[str, list[Statement]]:
    """The statements about each reservation, in the order in which the answers ended."""
    found: dict[str, list[Statement]] = {}
    for one in statements(history):
        found.setdefault(one.reservation_id, []).append(one)
    for each in found.values():
        each.sort(key=lambda one: one.attempt.ended_at)
    return found


def final_states(history: History) -> dict[str, str]:
    """The resolved state that clients were answered, by reservation."""
    return {one.reservation_id: one.state for one in statements(history) if one.is_resolved}


def latest_before(statements: list[Statement]) -> Iterator[tuple[Statement, str]]:
    """Each statement with the latest `expires_at` answered before its request; "" for none.

    `statements` are in the order in which their answers ended. Times in answers have one format,
    in which their order is the order of their texts.
    """
    told = [one for one in statements if one.attempt.expires_at]
    latest = list(accumulate((one.attempt.expires_at for one in told), max))
    ended = 0
    for one in sorted(told, key=attrgetter("attempt.started_at")):
        while ended < len(told) and told[ended].attempt.ended_at <= one.attempt.started_at:
            ended += 1
        yield one, latest[ended - 1] if ended else ""
