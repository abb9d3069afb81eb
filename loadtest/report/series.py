"""What happened when: a run's history as rows of numbers, one for each slice of time."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import msgspec

from loadtest.client.history import NO_ANSWER, Attempt
from loadtest.report.record import Record

SLICES_MOST = 120
SLICE_STEPS_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SHARES = (0.5, 0.9, 0.99, 0.999)


def slice_seconds(whole_seconds: float) -> float:
    """The finest step that needs no more than 120 slices."""
    return next(
        (step for step in SLICE_STEPS_SECONDS if whole_seconds / step <= SLICES_MOST),
        whole_seconds / SLICES_MOST,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank of sorted values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Call(msgspec.Struct, frozen=True):
    """One kind of call: how often, and how long answers took, in milliseconds."""

    name: str
    sent: int
    unanswered: int
    percentiles_ms: tuple[float, ...]  # of SHARES; empty where nothing was answered


class Series(msgspec.Struct, frozen=True):
    """A run by slices of `step_seconds`; every row is as long as `at_seconds`.

    Rates are per second. `reserve_ms` has a row for p50 and p99 as sent, and p99 from the due time
    where there was a timetable; None where a slice has no answer.
    """

    step_seconds: float
    at_seconds: tuple[float, ...]
    arrivals: tuple[float, ...]
    admitted: tuple[float, ...]
    accepted: tuple[float, ...]
    paid: tuple[float, ...]
    answers: dict[str, tuple[float, ...]]  # reserves by outcome, most frequent first
    reserve_ms: dict[str, tuple[float | None, ...]]
    waiting: tuple[int, ...]  # in line at the end of each slice; empty without a waiting room
    inside: tuple[int, ...]  # let in, without a hold yet


class _Queue:
    """Who is in line and who is inside, as the answers to the buyers said."""

    def __init__(self, slices: "_Slices") -> None:
        self._slices = slices
        self._line = [0] * (slices.count + 1)
        self._inside = [0] * (slices.count + 1)
        self._where: dict[str, list[int]] = {}  # the row that counts this buyer now

    def see(self, attempt: Attempt) -> None:
        """One answer, in the order of time."""
        buyer, at = attempt.buyer_id, self._slices.of(_ended(attempt))
        if attempt.call in {"join", "poll"} and attempt.accepted:
            rows = {"waiting": self._line, "admitted": self._inside}
            self._move(buyer, rows.get(attempt.state), at)
        elif attempt.call == "leave" or (attempt.call == "reserve" and attempt.accepted):
            self._move(buyer, None, at)

    def _move(self, buyer: str, row: list[int] | None, at: int) -> None:
        before = self._where.pop(buyer, None)
        if before is not None:
            before[at] -= 1
        if row is not None:
            row[at] += 1
            self._where[buyer] = row

    def rows(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(waiting, inside); empty where nobody ever queued."""
        line, inside = accumulate(self._line[:-1]), accumulate(self._inside[:-1])
        return (tuple(line), tuple(inside)) if any(self._line) or any(self._inside) else ((), ())


class _Slices:
    def __init__(self, record: Record) -> None:
        self._began = record.facts.began_at
        last = max((a.started_at + a.seconds for a in record.history.attempts), default=0.0)
        whole = max(1.0, max(last, record.facts.ended_at) - self._began)
        self.step = slice_seconds(whole)
        self.count = int(whole / self.step) + 1

    def of(self, at: float) -> int:
        return min(self.count - 1, max(0, int((at - self._began) / self.step)))

    def rates(self, moments: Iterable[float]) -> tuple[float, ...]:
        counted = Counter(self.of(at) for at in moments)
        return tuple(counted[number] / self.step for number in range(self.count))


def outcome(attempt: Attempt) -> str:
    """How a reserve ended, in the words of the contract."""
    if attempt.accepted:
        return "replayed" if attempt.replayed else "accepted"
    return attempt.code or ("no answer" if attempt.status == NO_ANSWER else str(attempt.status))


def _ended(attempt: Attempt) -> float:
    return attempt.started_at + attempt.seconds


def _first_of_each_buyer(attempts: Iterable[Attempt]) -> list[Attempt]:
    first: dict[str, Attempt] = {}
    for attempt in attempts:
        first.setdefault(attempt.buyer_id, attempt)
    return list(first.values())


def waited_ms(attempt: Attempt) -> float:
    """Milliseconds from the due time, or else from sending, to the answer."""
    return (_ended(attempt) - (attempt.scheduled_at or attempt.started_at)) * 1000


def sent_ms(attempt: Attempt) -> float:
    """Milliseconds from sending to the answer."""
    return attempt.seconds * 1000


def _latency(
    slices: _Slices, attempts: Sequence[Attempt], measure: Callable[[Attempt], float], share: float
) -> tuple[float | None, ...]:
    values: list[list[float]] = [[] for _ in range(slices.count)]
    for attempt in attempts:
        values[slices.of(_ended(attempt))].append(measure(attempt))
    return tuple(percentile(sorted(v), share) if v else None for v in values)


def series_of(record: Record) -> Series:
    """The record of a run as rows of numbers."""
    slices, attempts = _Slices(record), record.history.attempts
    reserves = [a for a in attempts if a.call == "reserve"]
    answered = [a for a in reserves if a.status != NO_ANSWER]
    arrived = [a.scheduled_at or a.started_at for a in _first_of_each_buyer(attempts)]
    admitted = _first_of_each_buyer(
        a for a in attempts if a.call in {"join", "poll"} and a.state == "admitted"
    )
    queue = _Queue(slices)
    for attempt in sorted(attempts, key=_ended):
        queue.see(attempt)
    waiting, inside = queue.rows()
    outcomes = Counter(outcome(a) for a in reserves)
    reserve_ms = {
        "p50": _latency(slices, answered, sent_ms, 0.5),
        "p99": _latency(slices, answered, sent_ms, 0.99),
    }
    if any(a.scheduled_at for a in answered):
        reserve_ms["p99 from due time"] = _latency(slices, answered, waited_ms, 0.99)
    return Series(
        step_seconds=slices.step,
        at_seconds=tuple(number * slices.step for number in range(slices.count)),
        arrivals=slices.rates(arrived),
        admitted=slices.rates(_ended(a) for a in admitted),
        accepted=slices.rates(_ended(a) for a in reserves if a.accepted and not a.replayed),
        paid=slices.rates(_ended(a) for a in attempts if a.call == "confirm" and a.accepted),
        answers={
            name: slices.rates(_ended(a) for a in reserves if outcome(a) == name)
            for name, _ in outcomes.most_common()
        },
        reserve_ms=reserve_ms,
        waiting=waiting,
        inside=inside,
    )


def calls_of(record: Record) -> list[Call]:
    """Each kind of call, in the order of first appearance.

    Calls with a due time have a second row, whose times start at the due time.
    """
    by_name: dict[str, list[Attempt]] = {}
    for attempt in record.history.attempts:
        by_name.setdefault(attempt.call, []).append(attempt)
    calls = []
    for name, attempts in by_name.items():
        calls.append(_call(name, attempts, sent_ms))
        scheduled = [a for a in attempts if a.scheduled_at]
        if scheduled:
            calls.append(_call(f"{name}, from its due time", scheduled, waited_ms))
    return calls


def _call(name: str, attempts: Sequence[Attempt], measure: Callable[[Attempt], float]) -> Call:
    values = sorted(measure(a) for a in attempts if a.status != NO_ANSWER)
    shares = tuple(percentile(values, share) for share in SHARES) if values else ()
    return Call(name, len(attempts), len(attempts) - len(values), shares)
