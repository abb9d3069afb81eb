"""The primary of Postgres is lost while buyers come, and its synchronous standby is promoted."""

import random

from tests.chaos.faults.ledgers import lose_ledger
from tests.chaos.rig.trial import trial
from tests.chaos.rig.watched import WatchedUp


async def test_a_promoted_synchronous_standby_has_all_that_was_answered(
    watched_up: WatchedUp,
) -> None:
    async with trial(watched_up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(2):  # the second time, the first primary is the standby
                before = watched_up.serving("postgres")
                await lose_ledger(run, random.Random(1))
                assert watched_up.serving("postgres") != before
                await run.goes_on(served=20, fresh=5)
        await run.judge()
