"""Invariant 5: resolved at most once, no unit returned twice, no confirm after the deadline."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(5, "resolved once, in time")


async def resolution(context: Context) -> Finding:
    """Judged from the log alone; deadlines include extensions and the shifts of recoveries."""
    violations = await context.ledger.violations(
        "resolved_twice_violations", "returned_twice_violations", "deadline_violations"
    )
    n = await context.ledger.row("counts")
    return SUBJECT.judge(
        violations,
        f"{n['confirmed']} confirmed, {n['cancelled']} cancelled, {n['expired']} expired",
    )
