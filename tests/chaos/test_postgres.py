"""Postgres dies or freezes; buyers are served all the same, and the ledger catches up."""

from tests.chaos.rig import trial
from tests.support.up import Up

FROZEN_SECONDS = 5.0


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
                await run.goes_on()
                await run.passed(FROZEN_SECONDS)
                await run.goes_on(served=20, fresh=5)
            await run.goes_on(served=20, fresh=5)
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()
