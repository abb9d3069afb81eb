"""Invariant 9: nobody reserves without a valid, own, unspent admission."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(9, "admission")


async def admission(context: Context) -> Finding:
    """Only a sale with a waiting room has admissions; events do not name them yet."""
    if not context.sale.has_waiting_room:
        return SUBJECT.not_judged("the sale has no waiting room")
    return SUBJECT.not_judged("the log names no admissions")
