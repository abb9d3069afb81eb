"""Invariant 2: every accepted reservation is in the ledger exactly once, and no other."""

from loadtest.verdict.answers.promises import lost_accepts, vanished_orders
from loadtest.verdict.answers.statements import final_states
from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(2, "nothing lost, nothing made up")


async def accounted(context: Context) -> Finding:
    """Rows and events match one to one. With a history, answers and rows match too, whatever call
    they answer, and no answer says that an accepted reservation is unknown.
    """
    if not context.drain.done:
        return SUBJECT.not_judged("the pipeline has not drained")
    ledger, history = context.ledger, context.history
    violations = await ledger.violations("row_without_event_violations")
    stored = (await ledger.row("counts"))["reservations"]
    evidence = f"{stored} reservations in the ledger"
    if history is None:
        return SUBJECT.judge(violations, f"{evidence}, no client history")
    answered = list(history.reservations())
    states = final_states(history)
    violations += await ledger.violations("lost_reservation_violations", args=[answered])
    violations += await ledger.violations(
        "answered_state_violations", args=[list(states), list(states.values())]
    )
    violations += lost_accepts(history) + vanished_orders(history)
    if history.complete:
        requested = list(context.requested.values())
        violations += await ledger.violations("unasked_reservation_violations", args=[requested])
    evidence += f", {len(answered)} answered to clients, {len(states)} of them as resolved"
    if history.complete:
        # Buyers whose connection broke before the answer, and who did not ask again.
        evidence += f", {stored - len(answered)} accepted unheard"
    return SUBJECT.judge(violations, evidence)
