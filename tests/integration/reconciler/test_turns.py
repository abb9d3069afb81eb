"""Whose reconciliation is run next, how often sick sales are compared, and which runs are kept."""

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from config.settings import Settings
from reconciler.context import QUERIES
from tests.support.sales.partitions import one_item
from tests.support.sales.pipeline import create_sale

INTERVAL_SECONDS = 30.0


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.postgres.dsn)
    for sale_id in ("sick", "well"):
        await create_sale(connection, sale_id, one_item(1))
    await connection.execute("UPDATE sales SET state = 'open'")
    yield connection
    await connection.close()


async def add(ledger: asyncpg.Connection, sale_id: str, status: str, age_seconds: float) -> int:
    """A periodic run that was asked for, and finished, so long ago."""
    return int(
        await ledger.fetchval(
            "INSERT INTO reconciliations (sale_id, requested_by, status, balanced, failure, "
            "requested_at, finished_at) SELECT $1, 'reconciler', $2, "
            "CASE $2 WHEN 'done' THEN false END, CASE $2 WHEN 'failed' THEN 'ledger_behind' END, "
            "moment, CASE WHEN $2 IN ('done', 'failed') THEN moment END "
            "FROM (SELECT now() - make_interval(secs => $3::float8) AS moment) AS at "
            "RETURNING reconciliation_id",
            sale_id,
            status,
            age_seconds,
        )
    )


async def planned(ledger: asyncpg.Connection) -> set[str]:
    """The sales that are to be compared by now; none stays requested."""
    await ledger.execute(QUERIES["plan_reconciliations"], INTERVAL_SECONDS, ["sick", "well"])
    rows = await ledger.fetch(
        "DELETE FROM reconciliations WHERE status = 'requested' RETURNING sale_id"
    )
    return {row["sale_id"] for row in rows}


async def test_a_persons_request_goes_before_periodic_ones(ledger: asyncpg.Connection) -> None:
    for sale_id in ("sick", "sick", "well"):
        await add(ledger, sale_id, "requested", 0)
    for person in ("alice", "bob"):
        await ledger.execute(
            "INSERT INTO reconciliations (sale_id, requested_by) VALUES ('well', $1)", person
        )
    turns = [await ledger.fetchrow(QUERIES["claim_reconciliation"]) for _ in range(6)]
    names = [None if row is None else (row["requested_by"], row["sale_id"]) for row in turns]
    assert names == [
        ("alice", "well"),
        ("bob", "well"),
        ("reconciler", "sick"),
        ("reconciler", "sick"),
        ("reconciler", "well"),
        None,
    ]


async def test_a_sale_whose_comparisons_fail_is_compared_less_often(
    ledger: asyncpg.Connection,
) -> None:
    assert await planned(ledger) == {"sick", "well"}
    await add(ledger, "well", "done", INTERVAL_SECONDS + 1)
    for failures in range(1, 5):
        await ledger.execute("UPDATE reconciliations SET requested_at = now() - interval '1 day' "
                             "WHERE sale_id = 'sick'")  # fmt: skip
        assert await planned(ledger) == {"sick", "well"}
        times = 2 ** min(failures, 3)
        last = await add(ledger, "sick", "failed", INTERVAL_SECONDS * times - 5)
        assert await planned(ledger) == {"well"}
        await ledger.execute(
            "UPDATE reconciliations SET requested_at = now() - make_interval(secs => $2) "
            "WHERE reconciliation_id = $1",
            last,
            INTERVAL_SECONDS * times + 5,
        )
        assert await planned(ledger) == {"sick", "well"}
    for _ in range(3):
        await add(ledger, "sick", "done", INTERVAL_SECONDS + 1)
    assert await planned(ledger) == {"sick", "well"}


async def test_of_runs_with_differences_the_newest_hundred_are_kept(
    ledger: asyncpg.Connection,
) -> None:
    async def kept(sale_id: str) -> list[int]:
        rows = await ledger.fetch(
            "SELECT reconciliation_id FROM reconciliations WHERE sale_id = $1 ORDER BY 1", sale_id
        )
        return [row["reconciliation_id"] for row in rows]

    sick = [await add(ledger, "sick", "done", 7200) for _ in range(150)]
    well = [await add(ledger, "well", "done", 7200) for _ in range(100)]
    failed = await add(ledger, "well", "failed", 7200)
    for each in (*sick, failed):  # an interrupted run may have failed after it found something
        await ledger.execute(
            "INSERT INTO reconciliation_differences (reconciliation_id, number, partition, kind) "
            "VALUES ($1, 1, 0, 'hold_missing')",
            each,
        )
    await ledger.execute(QUERIES["prune_reconciliations"])
    assert await kept("sick") == sick[50:]
    assert await kept("well") == well
    assert await ledger.fetchval("SELECT count(*) FROM reconciliation_differences") == 100
