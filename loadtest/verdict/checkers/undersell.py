"""Invariant 8: no undersell: what returns is sold again while demand lasts."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(8, "no undersell")


async def undersell(context: Context) -> Finding:
    """Every due hold is released; where buyers went without, nothing is left to sell.

    How long after its deadline each hold was released, on Redis' clock, is part of the evidence,
    not of the verdict: `reserve` releases due holds itself when it is short, so a late sweep alone
    keeps no unit from a buyer.
    """
    lag = await context.ledger.row("release_lag")
    evidence = (
        f"{lag['released']} lapsed holds released, p99 {lag['p99_ms']} ms, max {lag['max_ms']} ms"
    )
    if not context.watermarks:
        return SUBJECT.not_judged("the sale was never opened")
    violations = [text for text in context.drain.remaining if "due hold" in text]
    unmet = context.history.unmet_buyers if context.history else None
    if unmet is None:
        return SUBJECT.judge(violations, f"{evidence}; demand at the end unknown")
    if unmet:
        floors = {row["sku"]: row["floor"] for row in await context.ledger.rows("items")}
        left: dict[str, int] = {}
        for row in await context.ledger.rows("accounts"):
            left[row["sku"]] = left.get(row["sku"], 0) + row["available"] + row["held"]
        violations += [
            f"{sku}: {units} units not sold, floor {floors[sku]}, with {unmet} buyers unserved"
            for sku, units in left.items()
            if units > floors[sku]
        ]
    return SUBJECT.judge(violations, f"{evidence}; {unmet} buyers unserved at the end")
