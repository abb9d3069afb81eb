"""Invariant 6: the log has no hole, and folding it again changes nothing."""

from loadtest.verdict.context import Context
from loadtest.verdict.finding import Finding, Subject
from loadtest.verdict.partition_view import PartitionView, Position

SUBJECT = Subject(6, "contiguous and replayable")


async def _outbox_violations(
    context: Context, view: PartitionView, imported: list[tuple[Position, Position]]
) -> list[str]:
    """Entries still in the outbox must be, byte for byte, what the ledger applied. `imported`:
    numbers after the first position up to the second are known from an import only.
    """
    found = []
    if view.last_entry != str(view.position):
        found.append(f"partition {view.number} is at {view.position}, outbox at {view.last_entry}")
    watermark = context.watermarks[view.number].position
    by_epoch: dict[int, dict[int, bytes]] = {}
    for entry, fingerprint in view.outbox.items():
        epoch, sequence = (int(part) for part in entry.split("-"))
        if Position(epoch, sequence) <= watermark:
            by_epoch.setdefault(epoch, {})[sequence] = fingerprint
    for epoch, entries in by_epoch.items():
        rows = await context.ledger.rows("event_fingerprints", view.number, epoch, min(entries))
        applied = {row["sequence"]: row["fingerprint"] for row in rows}
        found.extend(
            f"partition {view.number}: {epoch}-{sequence} differs between outbox and ledger"
            for sequence, fingerprint in entries.items()
            if applied.get(sequence) != fingerprint
            and not any(after < Position(epoch, sequence) < last for after, last in imported)
        )
    return found


async def sequence(context: Context) -> Finding:
    """Check the sequence numbers, then every derived table against a fold of all events; with a
    history also the order of the numbers: an event that was answered has a smaller number than
    every event that was asked for after the answer.
    """
    violations = await context.ledger.violations(
        "gap_violations",
        "epoch_end_violations",
        "epoch_start_violations",
        "void_violations",
        "account_fold_violations",
        "reservation_fold_violations",
        "line_fold_violations",
        "order_event_violations",
    )
    imports = await context.ledger.rows("imports")
    for view in context.partitions:
        imported = [
            (
                Position(row["after_epoch"], row["after_sequence"]),
                Position(row["epoch"], row["sequence"]),
            )
            for row in imports
            if row["partition"] == view.number
        ]
        violations += await _outbox_violations(context, view, imported)
    if context.order is not None:
        violations += context.order.violations()
    events = (await context.ledger.row("counts"))["events"]
    kept = sum(len(view.outbox) for view in context.partitions)
    evidence = f"{events} events folded from zero, {kept} compared with the outbox"
    if imports:
        numbers = sum(row["numbers"] for row in imports)
        evidence += f", {numbers} numbers known from {len(imports)} imports only"
    return SUBJECT.judge(violations, evidence)
