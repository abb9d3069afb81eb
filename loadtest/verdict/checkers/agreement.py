"""Invariant 7: after the drain Redis and the ledger agree to the unit."""

from collections import Counter
from dataclasses import dataclass

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject
from loadtest.verdict.partition_view import COUNTERS, STATES, PartitionView

SUBJECT = Subject(7, "Redis and ledger agree")


@dataclass(frozen=True, slots=True)
class Row:
    """A reservation as the ledger has it."""

    state: str
    buyer_id: str
    last: tuple[int, int]


Counters = dict[tuple[int, str, str], dict[str, int]]


def counter_violations(views: tuple[PartitionView, ...], ledger: Counters) -> list[str]:
    """Redis' counters against the ledger's, account by account."""
    redis = {(v.number, *account): c for v in views for account, c in v.counters.items()}
    found = []
    for account in sorted(redis.keys() | ledger.keys()):
        ours, theirs = redis.get(account), ledger.get(account)
        if ours != theirs:
            number, sku, location = account
            found.append(f"partition {number} {sku} at {location}: Redis {ours}, ledger {theirs}")
    return found


def record_violations(sale_id: str, view: PartitionView, rows: dict[str, Row]) -> list[str]:
    """Redis' records against the ledger's reservations, one by one."""
    prefix = f"{sale_id}.{view.number}."
    found = []
    for token, record in view.records.items():
        row = rows.pop(prefix + token, None)
        mine = Row(STATES[record.state], record.buyer_id, (record.epoch, record.sequence))
        if mine != row:
            found.append(f"{prefix}{token}: Redis {mine}, ledger {row}")
    found.extend(f"{lost}: in the ledger, not in Redis" for lost in rows if lost.startswith(prefix))
    return found


def admission_violations(view: PartitionView, ledger: dict[tuple[int, str], int]) -> list[str]:
    """The highest admission each buyer has spent, by Redis and by the ledger."""
    spent = {buyer_id: b.admission for buyer_id, b in view.buyers.items() if b.admission}
    known = {buyer_id: number for (at, buyer_id), number in ledger.items() if at == view.number}
    return [
        f"buyer {buyer_id}: admission spent {spent.get(buyer_id)}, ledger {known.get(buyer_id)}"
        for buyer_id in sorted(spent.keys() | known.keys())
        if spent.get(buyer_id) != known.get(buyer_id)
    ]


def inner_violations(view: PartitionView) -> list[str]:
    """Redis' keys of one partition against each other: no unit without a record behind it."""
    held: Counter[tuple[str, str]] = Counter()
    counts: dict[str, Counter[int]] = {}
    holds: dict[str, set[str]] = {}
    deadlines = {t: r.deadline for t, r in view.records.items() if STATES[r.state] == "held"}
    for token, record in view.records.items():
        state = STATES[record.state]
        if state not in {"held", "confirmed"}:
            continue
        if state == "held":
            held.update(view.units(record.lines))
            holds.setdefault(record.buyer_id, set()).add(token)
        of_buyer = counts.setdefault(record.buyer_id, Counter())
        for sign, lines in ((1, record.lines), (-1, record.returned)):
            for account, quantity in zip(lines[::2], lines[1::2], strict=True):
                of_buyer[view.accounts[account - 1][2]] += sign * quantity
    found = [
        f"partition {view.number} {sku} at {location}: {c['held']} held, records hold "
        f"{held[sku, location]}"
        for (sku, location), c in view.counters.items()
        if c["held"] != held[sku, location]
    ]
    if deadlines != view.deadlines:
        wrong = deadlines.items() ^ view.deadlines.items()
        found.append(f"partition {view.number}: deadlines differ from the holds: {list(wrong)[:3]}")
    for buyer_id in counts.keys() | view.buyers.keys():
        stored = view.buyers.get(buyer_id)
        of_records = dict(+counts.get(buyer_id, Counter()))
        is_counted = stored.counts if stored else {}
        is_holding = stored.holds if stored else frozenset()
        if is_counted != of_records or is_holding != holds.get(buyer_id, set()):
            found.append(f"buyer {buyer_id}: counted {is_counted}, records say {of_records}")
    return found


def total_violations(context: Context, ledger: Counters) -> list[str]:
    """The sum over partitions against what the sale was given."""
    found = []
    for item in context.sale.items:
        accounts = [c for (_, sku, _), c in ledger.items() if sku == item.sku]
        total = {name: sum(c[name] for c in accounts) for name in COUNTERS}
        kept = total["available"] + total["held"] + total["sold"] + total["in_transit"]
        if total["loaded"] != item.units or kept != item.units + total["adjusted"]:
            found.append(
                f"{item.sku}: given {item.units}, adjusted {total['adjusted']}, "
                f"loaded {total['loaded']}, accounted for {kept}"
            )
    return found


async def agreement(context: Context) -> Finding:
    """Compare counters, records and totals, to the unit and to the reservation."""
    if not context.drain.done:
        return SUBJECT.not_judged("the pipeline has not drained")
    if not context.watermarks:
        return SUBJECT.not_judged("the sale was never opened")
    ledger: Counters = {
        (row["partition"], row["sku"], row["location"]): {name: row[name] for name in COUNTERS}
        for row in await context.ledger.rows("accounts")
    }
    violations = total_violations(context, ledger)
    units = sum(c["loaded"] + c["adjusted"] for c in ledger.values())
    if not context.partitions:
        return SUBJECT.judge(violations, f"{units} units; settled, so the ledger stands alone")
    rows = {
        row["reservation_id"]: Row(
            row["state"], row["buyer_id"], (row["last_epoch"], row["last_sequence"])
        )
        for row in await context.ledger.rows("reservation_rows")
    }
    evidence = f"{units} units, {len(rows)} reservations compared one by one"
    violations += counter_violations(context.partitions, ledger)
    admissions = {
        (row["partition"], row["buyer_id"]): row["admission"]
        for row in await context.ledger.rows("admissions")
    }
    for view in context.partitions:
        violations += record_violations(context.sale.sale_id, view, rows)
        violations += admission_violations(view, admissions)
        violations += inner_violations(view)
    return SUBJECT.judge(violations, evidence)
