"""Invariant 12: after any fault heals, backlogs reach zero without a person."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(12, "backlogs drain")


async def backlog(context: Context) -> Finding:
    """The ledger caught up, no partition is stopped, no dead letter waits."""
    violations = list(context.drain.remaining)
    violations += [
        f"partition {w.partition} is stopped: {w.stopped_reason}"
        for w in context.watermarks.values()
        if w.stopped_reason is not None
    ]
    violations += await context.ledger.violations("dead_letter_violations")
    return SUBJECT.judge(violations, f"drained within {context.drain.seconds:.1f} s")
