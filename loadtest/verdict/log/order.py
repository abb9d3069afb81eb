"""Where in a partition's log an answer was given, known from the order of the calls alone.

An answer that tells of an event was given after that event. An event that a client asked for came
after that client's first request for it. So whatever was decided between a request and its answer
was decided after every event that had been told before the request, and before every event that was
asked for after the answer. No clock of a server is compared with a client's.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from loadtest.client.history import Attempt, History
from loadtest.verdict.answers.statements import statements

EVENT_OF_STATE = {"confirmed": "confirm", "cancelled": "cancel", "expired": "expire"}
EVENTS_ASKED_FOR = frozenset({"confirm", "cancel"})

Place = tuple[int, int]  # (epoch, sequence) of an event
BEGINNING: Place = (0, 0)
END: Place = (1 << 62, 0)
FOR_GOOD = float("inf")


class Step(NamedTuple):
    """An event of a reservation."""

    place: Place
    type: str
    reservation_id: str


class Window(NamedTuple):
    """An answer was decided in a state after `first` or a later event, and before `before`."""

    first: Place
    before: Place


class _Known(NamedTuple):
    """A time of a client's clock that is known of an event."""

    at: float
    place: Place
    name: str


class LogOrder:
    """One partition's events, and what its clients' calls say of their order."""

    def __init__(
        self,
        steps: Iterable[Step],
        epochs: Iterable[int],
        history: History,
        requested: Mapping[tuple[str, str], str],
    ) -> None:
        """`epochs`: all in the log; `requested`: the reservation id each (buyer, key) leads to."""
        places = {(step.type, step.reservation_id): step.place for step in steps}
        told, asked = _told(history), _asked(history, requested)
        self._told = _known(places, told)
        self._asked = _known(places, asked)
        self._told_at = [one.at for one in self._told]
        self._asked_at = [one.at for one in self._asked]
        self._latest_told = list(accumulate(self._told, _later))
        self._first_asked = list(accumulate((one.place for one in reversed(self._asked)), min))
        self._first_asked.reverse()
        self._lost_at = _lost_at(history, requested, {i for kind, i in places if kind == "reserve"})
        self._ends = [(epoch, 1) for epoch in sorted(epochs)[1:]]

    def window(self, attempt: Attempt) -> Window:
        """Where this answer was decided."""
        told = bisect_left(self._told_at, attempt.started_at)
        asked = bisect_right(self._asked_at, attempt.ended_at)
        return Window(
            self._latest_told[told - 1].place if told else BEGINNING,
            self._first_asked[asked] if asked < len(self._asked) else END,
        )

    def is_certain(self, attempt: Attempt, window: Window) -> bool:
        """Whether the log has everything that this answer may have been decided on.

        Where an epoch ends within the window, the answer may be due to a reserve that was lost with
        it. Only a reserve whose client has no certain answer can have been lost unnoticed.
        """
        if window.before <= window.first:  # the calls contradict the log; `violations` says where
            return False
        is_in_one_epoch = not any(window.first < end <= window.before for end in self._ends)
        return is_in_one_epoch or self._lost_at > attempt.ended_at

    def violations(self) -> list[str]:
        """Events that come before an event that had been told when they were asked for."""
        found = []
        for one in self._asked:
            told = bisect_left(self._told_at, one.at)
            if told and (before := self._latest_told[told - 1]).place > one.place:
                found.append(
                    f"{one.name} is {_shown(one.place)}, though it was asked for after "
                    f"{before.name} had been answered, which is {_shown(before.place)}"
                )
        return found


def _told(history: History) -> Iterator[tuple[tuple[str, str], float]]:
    """The events that answers tell of, and when they did."""
    for one in statements(history):
        yield ("reserve", one.reservation_id), one.attempt.ended_at
        if one.is_resolved:
            yield (EVENT_OF_STATE[one.state], one.reservation_id), one.attempt.ended_at


def _asked(
    history: History, requested: Mapping[tuple[str, str], str]
) -> Iterator[tuple[tuple[str, str], float]]:
    """The events that clients asked for, and when; nothing where others may have asked earlier."""
    if not history.complete:
        return
    for a in history.attempts:
        if a.call == "reserve" and a.key:
            yield ("reserve", requested[a.buyer_id, a.key]), a.started_at
        elif a.call in EVENTS_ASKED_FOR:
            yield (a.call, a.reservation_id), a.started_at


def _known(
    places: Mapping[tuple[str, str], Place], times: Iterable[tuple[tuple[str, str], float]]
) -> list[_Known]:
    """The earliest time of each event in the log, in the order of the times."""
    first: dict[tuple[str, str], float] = {}
    for event, at in times:
        if event in places:
            first[event] = min(at, first.get(event, at))
    found = (_Known(at, places[event], f"{event[0]} of {event[1]}") for event, at in first.items())
    return sorted(found)


def _lost_at(
    history: History, requested: Mapping[tuple[str, str], str], accepted: set[str]
) -> float:
    """When the first reserve was sent that may have been accepted and lost; infinity for none."""
    if not history.complete:
        return 0.0
    may_be_lost = (
        a.started_at
        for a in history.of("reserve")
        if not a.refused_for_certain and requested.get((a.buyer_id, a.key)) not in accepted
    )
    return min(may_be_lost, default=FOR_GOOD)


def _later(one: _Known, other: _Known) -> _Known:
    return other if other.place > one.place else one


def _shown(place: Place) -> str:
    return f"{place[0]}-{place[1]}"
