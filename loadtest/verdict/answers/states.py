"""States and deadlines in answers: what was told is never taken back.

Each rule returns what it found wrong, in words. No rule compares a client's clock with a server's.
"""

from loadtest.client.history import History
from loadtest.verdict.answers.statements import by_reservation, latest_before


def changed_answers(history: History) -> list[str]:
    """What a reservation consists of does not change, and once resolved, neither does its state.

    Refusals count: 410 says that a hold is over, 409 `already_resolved` how, and the own holds in a
    refused reserve are held.
    """
    found = []
    for identifier, told in by_reservation(history).items():
        if len({one.attempt.units for one in told if one.attempt.units}) > 1:
            found.append(f"{identifier}: answered with different units")
        resolved, since = "", 0.0
        for one in told:
            a = one.attempt
            if resolved and one.state not in {"", resolved} and a.started_at >= since:
                found.append(f"{identifier}: {a.call} answered {one.state} after {resolved}")
            if one.is_resolved and not resolved:
                resolved, since = one.state, a.ended_at
    return found


def resolved_otherwise(history: History) -> list[str]:
    """Of confirm, cancel and lapse only one ever succeeds."""
    ends = {
        identifier: {one.state for one in told if one.is_resolved}
        for identifier, told in by_reservation(history).items()
    }
    return [
        f"{identifier} was answered as {sorted(states)}"
        for identifier, states in ends.items()
        if len(states) > 1
    ]


def moved_deadlines(history: History) -> list[str]:
    """The deadline of a resolved reservation never moves, that of a hold never to an earlier time.

    By how much the deadline of a hold may move is judged from the log. A list says nothing of
    holds: the ledger may not have heard of an extension. Not for a sale whose server's clock was
    set back: then deadlines move back with it.
    """
    found = []
    for identifier, told in by_reservation(history).items():
        ends = {t.attempt.expires_at for t in told if t.is_resolved and t.attempt.expires_at}
        if len(ends) > 1:
            found.append(f"{identifier}: resolved, and answered to end at {sorted(ends)}")
        found += [
            f"{identifier}: {one.attempt.call} answered an end at {one.attempt.expires_at} after "
            f"{latest}"
            for one, latest in latest_before([one for one in told if one.state])
            if one.attempt.expires_at < latest
        ]
    return found
