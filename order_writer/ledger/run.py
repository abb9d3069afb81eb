"""Statements for a ledger that may have come back older than Redis."""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import ClosedEpoch
from gateway.process.audit import AuditAction
from gateway.process.ledger_run import ledger_run
from order_writer.folding.rows import columns
from order_writer.ledger.statements import QUERIES, Connection

AUDIT_ACTOR = "order_writer"


class AnotherLedger(Exception):
    """Another run of the ledger (gateway/process/ledger_run.py) than the one that was told."""


async def require_run(connection: Connection, run: str) -> None:
    """Raise AnotherLedger where the connection leads to another run of the ledger."""
    found = await ledger_run(connection)
    if found != run:
        raise AnotherLedger(f"{found}, not {run}")


async def close_epochs(
    connection: Connection, closings: Mapping[PartitionId, Sequence[ClosedEpoch]]
) -> None:
    """Add closings that the ledger has forgotten; the caller has the watermarks locked."""
    rows = [
        (key.sale_id, key.number, one.epoch, one.last_sequence, one.fingerprint, one.next_epoch)
        for key, forgotten in sorted(closings.items())
        for one in forgotten
    ]
    if rows:
        await connection.execute(QUERIES["close_epochs"], *columns(rows))


async def adopt_states(
    connection: Connection, found: Mapping[PartitionId, tuple[str, Position]]
) -> dict[str, str]:
    """Give sales the state that a partition is in, where it knows of a later position than the
    watermark; returns the new state of each sale that changed.
    """
    rows = [
        (key.sale_id, key.number, state, known.epoch, known.sequence)
        for key, (state, known) in sorted(found.items())
    ]
    if not rows:
        return {}
    changed = await connection.fetch(QUERIES["adopt_states"], *columns(rows))
    return {row["sale_id"]: row["state"] for row in changed}


async def newest_offsets(connection: Connection) -> dict[str, int]:
    """The last offset that any watermark has, for each place of the event log."""
    return {
        row["place"]: row["number"] for row in await connection.fetch(QUERIES["newest_offsets"])
    }


async def write_audit(
    connection: Connection, action: AuditAction, sale_id: str, **detail: object
) -> None:
    """Write a row of the audit log about what the writer did by itself."""
    text = msgspec.json.encode(detail).decode()
    await connection.execute(QUERIES["write_audit"], sale_id, AUDIT_ACTOR, action, text)
