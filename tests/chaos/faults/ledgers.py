"""Faults after which the standby of Postgres is the primary, and the old primary its standby."""

import random

from tests.chaos.faults.failovers import watched
from tests.chaos.rig.trial import Trial
from tests.support.standby import spare_standby

LAG_SECONDS_MAX = 3.0


async def lose_ledger(run: Trial, rng: random.Random) -> str:
    """The ledger's primary is lost; the synchronous standby that takes over has every commit."""
    del rng
    await watched(run).ledger.complete()
    return await _fail_over(run)


async def set_ledger_back(run: Trial, rng: random.Random) -> str:
    """The ledger's primary is lost; the asynchronous standby that takes over lacks the end."""
    ledger = watched(run).ledger
    await ledger.complete()
    await spare_standby(ledger.leader)
    ledger.lag()
    seconds = rng.uniform(0, LAG_SECONDS_MAX)
    await run.passed(seconds)
    await run.drained()  # so that the ledger has had what it is about to lack
    before = await run.watermark()
    done = await _fail_over(run)
    return f"{done}, which lacked the last {seconds:.1f} s up to {before}"


async def _fail_over(run: Trial) -> str:
    """Kill the primary, promote the standby, and let the old primary follow it."""
    up = watched(run)
    old = up.serving("postgres")
    lost = up.ledger.leader
    async with run.down("postgres"):
        await up.ledger.take_over()
        # Before its supervisor starts it again: as a primary, it would be a second ledger.
        await up.ledger.follow_with(lost)
    await up.ledger.complete()
    return f"killed ledger {old}, then {up.serving('postgres')} was the primary"
