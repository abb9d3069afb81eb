"""Invariant 4: per buyer and SKU, held + sold stays within the limit."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject
from loadtest.verdict.log.order import LogOrder
from loadtest.verdict.log.possession import BuyerMove, Possession
from loadtest.verdict.refusals import Refusals

SUBJECT = Subject(4, "per-buyer limit")


async def _unfounded(context: Context, refusals: Refusals, order: LogOrder) -> list[str]:
    """Refusals of buyers who were within the limit from the request to the answer."""
    if not refusals.judged:
        return []
    limits = {r["sku"]: r["per_buyer_limit"] for r in await context.ledger.rows("items")}
    buyers = list({a.buyer_id for a in refusals.judged})
    had = Possession(
        BuyerMove((row["epoch"], row["sequence"]), row["buyer_id"], row["sku"], row["units"])
        for row in await context.ledger.rows("buyer_moves", buyers)
    )
    found = []
    for a in refusals.judged:
        most, wanted = had.most(a.buyer_id, a.sku, order.window(a)), refusals.wanted(a)
        if most + wanted <= limits[a.sku]:
            found.append(
                f"buyer {a.buyer_id} was refused {wanted} of {a.sku} though having {most} at most, "
                f"limit {limits[a.sku]}"
            )
    return found


async def limits(context: Context) -> Finding:
    """Judged from the order lines now, and from the log after each event; with a history also from
    the refusals: a buyer who is refused has reached the limit.
    """
    violations = await context.ledger.violations("limit_now_violations", "limit_ever_violations")
    counts = await context.ledger.row("counts")
    evidence = f"order lines of {counts['reservations']} reservations"
    if context.order is not None:
        refusals = await Refusals.of(context, context.order, "limit_exceeded")
        violations += await _unfounded(context, refusals, context.order)
        evidence += f", {refusals.evidence}"
    return SUBJECT.judge(violations, evidence)
