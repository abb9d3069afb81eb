"""Postgres dies or freezes; buyers are served all the same, and the ledger catches up."""

import time

from tests.chaos.rig import WAIT_SECONDS, trial
from tests.support.up import Up
from tests.support.waiting import wait_until

FROZEN_SECONDS = 6.0


async def test_buyers_do_not_notice_that_postgres_is_killed(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(2):
                await run.kill_and_wait("postgres")
                await run.goes_on()
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def test_a_frozen_postgres_stops_nobody_and_loses_nothing(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.stopped("postgres"):
                frozen_at = time.time()
                await run.goes_on()
                await wait_until(lambda: time.time() > frozen_at + FROZEN_SECONDS, WAIT_SECONDS)
                await run.goes_on(served=20, fresh=5)
            await run.goes_on(served=20, fresh=5)
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()
