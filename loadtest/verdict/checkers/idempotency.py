"""Invariant 3: one effect per (buyer, idempotency key)."""

from loadtest.verdict.answers.promises import forgotten_keys, shared_ids
from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject

SUBJECT = Subject(3, "one effect per key")


def answer_violations(context: Context) -> tuple[list[str], int]:
    """Answers that do not carry the one id their key leads to, and refusals of a key that has a
    reservation; and how many repeats there were.
    """
    if context.history is None:
        return [], 0
    found, seen, retries = [], set(), 0
    for a in context.history.of("reserve"):
        pair = (a.buyer_id, a.key)
        retries += pair in seen
        seen.add(pair)
        expected = context.requested.get(pair)
        if a.accepted and expected is not None and a.reservation_id != expected:
            found.append(f"buyer {a.buyer_id}, key {a.key}: {a.reservation_id}, not {expected}")
    fresh: dict[tuple[str, str], int] = {}
    for a in context.history.of("reserve"):
        if a.accepted and not a.replayed:
            fresh[a.buyer_id, a.key] = fresh.get((a.buyer_id, a.key), 0) + 1
    found.extend(
        f"buyer {buyer}, key {key}: {count} answers that were not marked as replays"
        for (buyer, key), count in fresh.items()
        if count > 1
    )
    found += shared_ids(context.history) + forgotten_keys(context.history)
    return found, retries


async def idempotency(context: Context) -> Finding:
    """No reservation accepted twice, in the log; no key with two answers, at the clients."""
    violations, retries = answer_violations(context)
    violations += await context.ledger.violations("reserved_twice_violations")
    evidence = f"{(await context.ledger.row('counts'))['reservations']} reservations"
    if context.history is not None:
        evidence += f", {len(context.requested)} keys, {retries} repeats of a key"
    return SUBJECT.judge(violations, evidence)
