"""Invariant 5: resolved at most once, no unit returned twice, no confirm after the deadline."""

from loadtest.client.history import History
from loadtest.verdict.answers.statements import statements
from loadtest.verdict.answers.states import changed_answers, moved_deadlines, resolved_otherwise
from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(5, "resolved once, in time")


async def _answer_violations(context: Context, history: History) -> list[str]:
    """States and deadlines that answers took back, and deadlines that no event bears out."""
    found = changed_answers(history) + resolved_otherwise(history)
    if (await context.ledger.row("rare_events"))["rebases"] == 0:
        found += moved_deadlines(history)
    if context.drain.done:
        deadlines = {
            (one.reservation_id, one.attempt.expires_at)
            for one in statements(history)
            if one.attempt.expires_at
        }
        ids, ends = [pair[0] for pair in deadlines], [pair[1] for pair in deadlines]
        found += await context.ledger.violations("answered_deadline_violations", args=[ids, ends])
    return found


async def resolution(context: Context) -> Finding:
    """Judged from the log, whose deadlines include extensions and the shifts of recoveries; with a
    history also from every answer about a reservation: what was answered is never taken back.
    """
    violations = await context.ledger.violations(
        "resolved_twice_violations", "returned_twice_violations", "deadline_violations"
    )
    n = await context.ledger.row("counts")
    evidence = f"{n['confirmed']} confirmed, {n['cancelled']} cancelled, {n['expired']} expired"
    if context.history is not None:
        violations += await _answer_violations(context, context.history)
        answers = sum(1 for _ in statements(context.history))
        evidence += f", {answers} answers about reservations"
    return SUBJECT.judge(violations, evidence)
