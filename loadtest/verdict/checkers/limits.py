"""Invariant 4: per buyer and SKU, held + sold stays within the limit."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(4, "per-buyer limit")


async def limits(context: Context) -> Finding:
    """Judged from the order lines now, and from the log after each event."""
    violations = await context.ledger.violations("limit_now_violations", "limit_ever_violations")
    counts = await context.ledger.row("counts")
    return SUBJECT.judge(violations, f"order lines of {counts['reservations']} reservations")
