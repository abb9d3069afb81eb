"""Invariant 10: an answer only ever contains the caller's own data."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(10, "own data only")


async def privacy(context: Context) -> Finding:
    """Every answer to a buyer names that buyer, and only reservations of that buyer; a call with an
    invalid token is never accepted.
    """
    if context.history is None:
        return SUBJECT.not_judged("no client history")
    to_buyers = [a for a in context.history.attempts if a.caller == "buyer"]
    answers = [a for a in to_buyers if a.accepted and a.reservation_id]
    violations = [
        f"{a.call} by buyer {a.buyer_id} was answered with data of {a.owner}"
        for a in answers
        if a.owner and a.owner != a.buyer_id
    ]
    violations += [
        f"{a.call} as buyer {a.buyer_id} with a forged token was accepted"
        for a in context.history.attempts
        if a.caller == "forger" and a.accepted
    ]
    shown = {(a.reservation_id, a.buyer_id) for a in answers}
    shown |= {(other, a.buyer_id) for a in to_buyers for other in a.shown}
    ids, buyers = [pair[0] for pair in shown], [pair[1] for pair in shown]
    violations += await context.ledger.violations("foreign_owner_violations", args=[ids, buyers])
    refused = sum(a.call != "reserve" and a.status == 404 for a in to_buyers)
    return SUBJECT.judge(
        violations,
        f"{len(shown)} reservations shown to their buyers, {refused} foreign calls refused",
    )
