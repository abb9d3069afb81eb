"""Our own processes are killed under load; nothing is lost and the sale goes on by itself."""

import pytest

from tests.chaos.rig.trial import trial
from tests.support.up import Up


async def test_a_killed_gateway_worker_loses_no_answer(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            for which in (0, 1, 0):
                await run.kill_and_wait("gateway", which=which)
            await run.goes_on()
        await run.judge()


@pytest.mark.parametrize("name", ["order_writer", "reconciler"])
async def test_a_killed_worker_behind_the_gateway_is_not_noticed_by_buyers(
    unhurried_up: Up, name: str
) -> None:
    async with trial(unhurried_up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(4):
                await run.kill_and_wait(name)
                await run.goes_on(served=20, fresh=5)
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def test_everything_killed_at_once_comes_back_with_everything(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            for name, pids in run.up.ready.pids.items():
                for which in range(len(pids)):
                    run.kill(name, which=which)
            await run.goes_on()
        await run.judge()
