"""Who did what: one row for every write of an operator."""

import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.api.ledger.queries import QUERIES


class Caller(msgspec.Struct, frozen=True):
    """An operator's request: who, under which request id, having seen which version (None: any)."""

    subject: str
    request_id: str
    if_version: int | None = None


async def write_audit(
    connection: PoolConnectionProxy,
    caller: Caller,
    action: str,
    sale_id: str | None,
    **detail: object,
) -> None:
    """Write the row, in the caller's transaction where there is one."""
    await connection.execute(
        QUERIES["write_audit"],
        sale_id,
        caller.subject,
        action,
        msgspec.json.encode(detail).decode(),
        caller.request_id,
    )
