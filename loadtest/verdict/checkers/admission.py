"""Invariant 9: nobody reserves without a valid, own, unspent admission."""

from loadtest.client.history import History
from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(9, "admission")


def answer_violations(history: History | None) -> list[str]:
    """Reserves that clients saw accepted without an admission, or with a spent or foreign one."""
    if history is None:
        return []
    found: list[str] = []
    spent: dict[str, tuple[str, str]] = {}  # token → the buyer and reservation it led to
    for a in history.of("reserve"):
        if not a.accepted or a.replayed:
            continue
        if not a.admission:
            found.append(f"buyer {a.buyer_id} reserved {a.reservation_id} without an admission")
            continue
        buyer_id, reservation_id = spent.setdefault(a.admission, (a.buyer_id, a.reservation_id))
        if (buyer_id, reservation_id) != (a.buyer_id, a.reservation_id):
            found.append(
                f"the admission of buyer {buyer_id} led to {reservation_id}, and buyer "
                f"{a.buyer_id} to {a.reservation_id}"
            )
    return found


async def admission(context: Context) -> Finding:
    """Judged from the log and from what clients sent, for a sale with a waiting room."""
    if not context.sale.has_waiting_room:
        return SUBJECT.not_judged("the sale has no waiting room")
    violations = answer_violations(context.history)
    violations += await context.ledger.violations(
        "unadmitted_violations", "admission_spent_twice_violations"
    )
    counts = await context.ledger.row("counts")
    evidence = f"{counts['reservations']} reservations, each with the number it spent"
    if context.history is not None:
        evidence += ", and the tokens clients sent"
    return SUBJECT.judge(violations, evidence)
