"""Postgres dies or freezes; buyers are served all the same, and the ledger catches up."""

import asyncpg

from tests.chaos.rig.trial import Trial, trial
from tests.support.up import Up
from tests.support.waiting import wait_until

FROZEN_SECONDS = 5.0
LOCK_STOCK = "SELECT FROM stock_accounts WHERE sale_id = $1 FOR UPDATE"
WAITS_FOR_STOCK = """
SELECT count(*) AS backends FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%stock_accounts%' AND $1::text <> ''
"""


async def test_buyers_do_not_notice_that_postgres_is_killed(unhurried_up: Up) -> None:
    async with trial(unhurried_up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(2):
                await run.kill_and_wait("postgres")
                await run.goes_on()
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def test_a_frozen_postgres_stops_nobody_and_loses_nothing(unhurried_up: Up) -> None:
    async with trial(unhurried_up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.stopped("postgres"):
                await run.goes_on()
                await run.passed(FROZEN_SECONDS)
                await run.goes_on(served=20, fresh=5)
            await run.goes_on(served=20, fresh=5)
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def test_backends_that_are_terminated_make_no_dead_letters_and_lose_nothing(
    unhurried_up: Up,
) -> None:
    async with trial(unhurried_up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(5):
                await wait_until(run.terminate_backends, "there were some")
                await run.goes_on(served=20, fresh=5)
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        letters = await run.ledger_row("SELECT count(*) FROM dead_letters WHERE sale_id = $1")
        assert letters["count"] == 0, "an outage is no poison"
        await run.judge()


async def test_a_writer_killed_in_the_middle_of_a_transaction_leaves_no_half_of_it(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way(20)
            rival = await asyncpg.connect(
                up.ready.postgres, server_settings={"idle_in_transaction_session_timeout": "0"}
            )
            try:
                # The writer inserts its events, and then waits for the stock of the same sale.
                await rival.execute("BEGIN")
                await rival.execute(LOCK_STOCK, run.sale_id)
                await wait_until(lambda: _waits(run), "the writer waits for the lock")
                run.kill("order_writer")
            finally:
                await rival.close()
            await run.goes_on()
        await run.judge()


async def _waits(run: Trial) -> bool:
    return bool((await run.ledger_row(WAITS_FOR_STOCK))["backends"])
