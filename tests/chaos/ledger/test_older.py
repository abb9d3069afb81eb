"""The ledger comes back without its end while buyers come, or is on two primaries."""

import random

from tests.chaos.faults.ledgers import put_copy_back, replace_ledger, set_ledger_back
from tests.chaos.rig.trial import trial
from tests.chaos.rig.watched import WatchedUp
from tests.support.up import Up


async def test_a_standby_that_lagged_gets_what_it_lacks(watched_up: WatchedUp) -> None:
    async with trial(watched_up) as run:
        async with run.load.running():
            await run.under_way()
            await set_ledger_back(run, random.Random(1))
            await run.goes_on(served=20, fresh=5)
        await run.judge()


async def test_an_old_primary_that_still_has_clients_gets_nothing_more(
    watched_up: WatchedUp,
) -> None:
    async with trial(watched_up) as run:
        async with run.load.running():
            await run.under_way()
            await replace_ledger(run, random.Random(1))
            await run.goes_on(served=20, fresh=5)
        await run.judge()


async def test_a_copy_that_is_put_back_gets_what_it_lacks(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            await put_copy_back(run, random.Random(1))
            await run.goes_on(served=20, fresh=5)
        await run.judge()
