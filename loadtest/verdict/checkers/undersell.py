"""Invariant 8: no undersell: what returns is sold again while demand lasts."""

from collections import defaultdict

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject
from loadtest.verdict.log.order import LogOrder
from loadtest.verdict.log.shortage import Floors, StockMove, shortages
from loadtest.verdict.refusals import Refusals

SUBJECT = Subject(8, "no undersell")


async def _floors(context: Context) -> dict[str, Floors]:
    """The floors of each SKU, in total and at each location."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await context.ledger.rows("location_floors"):
        places[row["sku"]][row["location"]] = row["floor"]
    return {
        row["sku"]: Floors(row["floor"], places[row["sku"]])
        for row in await context.ledger.rows("items")
    }


async def _unfounded(context: Context, refusals: Refusals, order: LogOrder) -> list[str]:
    """Refusals of units that could be had from the request to the answer."""
    if not refusals.judged:
        return []
    wanted: dict[str, set[int]] = defaultdict(set)
    for a in refusals.judged:
        wanted[a.sku].add(refusals.wanted(a))
    moves = (
        StockMove((row["epoch"], row["sequence"]), row["sku"], row["location"], row["available"])
        for row in await context.ledger.rows("stock_moves")
    )
    short = shortages(moves, await _floors(context), wanted)
    return [
        f"buyer {a.buyer_id} was refused {refusals.wanted(a)} of {a.sku} as sold out, which could "
        "be had all the time"
        for a in refusals.judged
        if not short[a.sku, refusals.wanted(a)].overlaps(order.window(a))
    ]


async def undersell(context: Context) -> Finding:
    """Every due hold is released; where buyers went without, nothing is left to sell; with a
    history, `sold_out` is only answered where the units were short at some moment between the
    request and the answer.

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
    if context.order is not None:
        refusals = await Refusals.of(context, context.order, "sold_out")
        violations += await _unfounded(context, refusals, context.order)
        evidence += f"; {refusals.evidence}"
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
