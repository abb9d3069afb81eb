"""The audit log: one row for every write of an operator."""

import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.api.ledger.queries import QUERIES
from gateway.process.audit import AuditAction


class Caller(msgspec.Struct, frozen=True):
    """An operator's request: subject, request id, and the version it was made for (None: any)."""

    subject: str
    request_id: str
    if_version: int | None = None


async def write_audit(
    connection: PoolConnectionProxy,
    caller: Caller,
    action: AuditAction,
    sale_id: str | None,
    **detail: object,
) -> None:
    """Write the audit row, in the connection's transaction if it has one."""
    await connection.execute(
        QUERIES["write_audit"],
        sale_id,
        caller.subject,
        action,
        msgspec.json.encode(detail).decode(),
        caller.request_id,
    )
