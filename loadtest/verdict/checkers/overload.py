"""Invariant 11: overload changes no state, and says when to come back."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(11, "refusals change nothing")


async def overload(context: Context) -> Finding:
    """A key that was only refused for certain is not in the ledger; every 429 and 503 has a
    Retry-After, and no answer is another 5xx.

    Memory, queues and time are bounded by construction and watched by the fault tests; what can be
    judged from outside is judged here.
    """
    if context.history is None:
        return SUBJECT.not_judged("no client history")
    if not context.drain.done:
        return SUBJECT.not_judged("the pipeline has not drained")
    shed = [a for a in context.history.attempts if a.status in {429, 503}]
    violations = [
        f"{a.call} of buyer {a.buyer_id}: {a.status} {a.code} without Retry-After"
        for a in shed
        if not a.retry_after
    ]
    violations += [
        f"{a.call} of buyer {a.buyer_id}: {a.status} {a.code}"
        for a in context.history.attempts
        if a.status >= 500 and a.status != 503
    ]
    open_ended = {
        (a.buyer_id, a.key) for a in context.history.of("reserve") if not a.refused_for_certain
    }
    refused = [i for pair, i in context.requested.items() if pair not in open_ended]
    violations += await context.ledger.violations("effect_of_refusal_violations", args=[refused])
    return SUBJECT.judge(
        violations, f"{len(refused)} keys were only refused, {len(shed)} answers were 429 or 503"
    )
