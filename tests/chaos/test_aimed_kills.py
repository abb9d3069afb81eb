"""Redis, the gateway or the primary dies at the moment after an answer, when nothing but what the
answer rests on can have happened; the answer stands. Random faults hit these milliseconds seldom.

The random mix aims at all moments, also at those that no row here names.
"""

import pytest

from tests.chaos.faults.aimed import MOMENTS, SOLD_OUT, ask_again, kill_all
from tests.chaos.rig.trial import LIMIT, trial
from tests.chaos.rig.watched import WatchedUp
from tests.support.servers import unique
from tests.support.up import Up

UNITS = 2 * LIMIT
HOLD_SECONDS = 1
AIMED_AT = {moment.name: moment for moment in (*MOMENTS, SOLD_OUT)}
# The gateway keeps nothing between two calls, so two moments are enough for it.
KILLS = (
    *(("read_as_expired", "redis"), ("confirm_410", "redis"), ("sold_out", "redis")),
    *(("replayed", "redis"), ("confirmed", "redis"), ("cancelled", "redis")),
    *(("extended", "redis"), ("confirm_410", "gateway"), ("sold_out", "gateway")),
)


@pytest.mark.parametrize(("name", "victim"), KILLS)
async def test_an_answer_outlives_a_kill_right_after_it(up: Up, name: str, victim: str) -> None:
    moment = AIMED_AT[name]
    async with trial(up, units=UNITS, hold_seconds=HOLD_SECONDS) as run:
        with run.history.aimed(moment.matches, lambda: kill_all(run, victim)) as shot:
            async with run.stopped("reconciler"):  # the sweep shall not come first
                await moment.lead_up(run, unique("ann"))
        assert shot.answer is not None, "nobody got that answer"
        await ask_again(run, shot.answer)
        await run.judge()


@pytest.mark.parametrize("name", ["read_as_expired", "confirm_410", "sold_out"])
async def test_an_answer_outlives_a_failover_right_after_it(
    watched_up: WatchedUp, name: str
) -> None:
    moment = AIMED_AT[name]
    await watched_up.complete()
    old = watched_up.primary
    async with trial(watched_up, units=UNITS, hold_seconds=HOLD_SECONDS) as run:
        async with run.unsupervised():
            with run.history.aimed(moment.matches, lambda: kill_all(run, "redis")) as shot:
                async with run.stopped("reconciler"):
                    await moment.lead_up(run, unique("ann"))
            assert shot.answer is not None, "nobody got that answer"
            await watched_up.replaced(old)
        await watched_up.complete()
        await ask_again(run, shot.answer)
        await run.judge()
