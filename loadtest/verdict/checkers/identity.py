"""Invariant 1: in every snapshot the identity holds and `available` is not below its floor; the sum
that Redis stores for a SKU of several locations is the sum.
"""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject
from loadtest.verdict.partition_view import PartitionView

SUBJECT = Subject(1, "identity and floor")


def identity_violations(view: PartitionView, floors: dict[str, int]) -> list[str]:
    """What is wrong with the counters of one partition in Redis."""
    found = []
    available: dict[str, int] = {}
    for (sku, location), c in view.counters.items():
        given = c["loaded"] + c["adjusted"] + c["transferred"]
        kept = c["available"] + c["held"] + c["sold"]
        place = f"Redis, partition {view.number} {sku} at {location}"
        if given != kept:
            found.append(f"{place}: {given} units given, {kept} accounted for")
        if c["held"] < 0 or c["sold"] < 0:
            found.append(f"{place}: held {c['held']}, sold {c['sold']}")
        available[sku] = available.get(sku, 0) + c["available"]
    found.extend(
        f"Redis, partition {view.number} {sku}: {units} available, floor {floors[sku]}"
        for sku, units in available.items()
        if units < floors.get(sku, 0)
    )
    found.extend(
        f"Redis, partition {view.number} {sku}: total {total}, {available[sku]} by location"
        for sku, total in view.totals.items()
        if total != available[sku]
    )
    return found


async def identity(context: Context) -> Finding:
    """Judged in Redis now, in the ledger now, and in the ledger after each of its events."""
    floors = {row["sku"]: row["floor"] for row in await context.ledger.rows("items")}
    violations = [v for view in context.partitions for v in identity_violations(view, floors)]
    violations += await context.ledger.violations(
        "identity_violations", "account_floor_violations", "item_floor_violations"
    )
    events = (await context.ledger.row("counts"))["events"]
    return SUBJECT.judge(violations, f"Redis, ledger, and after each of {events} events")
