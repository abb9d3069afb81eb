"""The audit log's rows about what the reconciler did by itself."""

import msgspec

from gateway.inventory.opening import LedgerConnection
from gateway.process.audit import AuditAction
from reconciler.context import QUERIES

ACTOR = "reconciler"


async def write_audit(
    connection: LedgerConnection, action: AuditAction, sale_id: str, **detail: object
) -> None:
    """Write the row, in the caller's transaction."""
    text = msgspec.json.encode(detail).decode()
    await connection.execute(QUERIES["write_audit"], sale_id, ACTOR, action, text)
