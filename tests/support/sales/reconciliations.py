"""Reconciliations: asked for again while the ledger is behind or a partition recovers."""

import asyncpg

from tests.support.api import Api, Reply
from tests.support.waiting import wait_until


async def reconciled(
    ledger: "asyncpg.Connection[asyncpg.Record]", sale_id: str, *, apply: bool = False
) -> asyncpg.Record:
    """Insert requests as the gateway does until a reconciliation is done; return its row."""

    async def done() -> asyncpg.Record | None:
        asked = await ledger.fetchval(
            "INSERT INTO reconciliations (sale_id, requested_by, apply) VALUES ($1, 'ops', $2) "
            "RETURNING reconciliation_id", sale_id, apply,
        )  # fmt: skip
        await ledger.execute("SELECT pg_notify('dropgate_reconciler', '')")

        async def finished() -> asyncpg.Record | None:
            return await ledger.fetchrow(
                "SELECT * FROM reconciliations WHERE reconciliation_id = $1 "
                "AND status IN ('done', 'failed')", asked,
            )  # fmt: skip

        row = await wait_until(finished)
        assert row["failure"] in {None, "ledger_behind", "recovering"}
        return row if row["status"] == "done" else None

    return await wait_until(done)


async def reconciliation(api: Api, sale: str, body: object = None) -> Reply:
    """Ask for a reconciliation over HTTP until one is decided; return the reply."""

    async def told() -> Reply | None:
        reply = await api.ops("POST", f"/v1/sales/{sale}/reconciliations", body)
        if reply.status == 202:  # the next call joins it
            return None
        undecided = reply.status == 503 and reply.code in {"ledger_behind", "recovering"}
        return None if undecided else reply

    return await wait_until(told, "a reconciliation is done")
