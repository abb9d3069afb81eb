"""Sentinel replaces the primary while buyers come: the new primary lacks the last writes, or the
old primary still has clients.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from config.settings import EventLogSettings
from loadtest.client.calls import Calls
from tests.chaos.faults.failovers import writes_no_more
from tests.chaos.faults.fleet import fleet, left_behind
from tests.chaos.rig.trial import UNIT, Trial, trial
from tests.support.sentinel import Replicated, replicated
from tests.support.waiting import wait_until


@pytest_asyncio.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Replicated]:
    """A primary with two replicas and a Sentinel."""
    async with replicated(tmp_path / "redis") as made:
        yield made


async def test_a_replica_that_lacks_the_last_writes_takes_over_and_nothing_told_is_lost(
    servers: Replicated, postgres_dsn: str, tmp_path: Path
) -> None:
    own = {"REDIS__DURABILITY": "replica", "GATEWAY__MAX_QUEUE_MILLISECONDS": "10000"}
    async with (
        fleet(tmp_path / "fleet", servers, postgres_dsn, None, **own) as stage,
        trial(stage, hold_seconds=3) as run,
    ):
        async with run.load.running():
            await run.under_way()
            servers.way.hold_replication()  # from here on no replica hears of a write
            await wait_until(lambda: _is_in_ledger_untold(run), "the ledger has it")
            servers.primary.kill()
            servers.way.cut()
            await servers.promoted()
            await run.goes_on(served=30, fresh=8)
        assert (await run.reserve("ann", "first")).replayed, "what nobody was told is there as well"
        await run.judge()
        assert await run.rebuilds() >= 1


async def test_an_old_primary_that_still_has_clients_promises_nothing(
    servers: Replicated, postgres_dsn: str, kafka_event_log: EventLogSettings, tmp_path: Path
) -> None:
    durability = {"REDIS__DURABILITY": "replica"}
    async with (
        fleet(tmp_path / "fleet", servers, postgres_dsn, kafka_event_log, **durability) as stage,
        left_behind(stage, **durability) as gateway,
        trial(stage) as run,
        run.calls_at(gateway) as beyond,
    ):
        async with run.load.running():
            await run.under_way()
            assert (await run.reserve("ben", "first", calls=beyond)).accepted
            servers.way.refuse()
            asked = asyncio.create_task(_ask_on(beyond, servers))
            await servers.promoted()
            await run.goes_on(served=30, fresh=8)
            assert await writes_no_more(servers.primary.url), "before anybody goes on elsewhere"
            assert await asked, "and it was asked until then"
        await run.judge()


async def _is_in_ledger_untold(run: Trial) -> bool:
    """Reserve for Ann without getting a promise; whether the unit is in the ledger."""
    told = await run.calls.reserve("ann", "first", UNIT)
    assert (told.status, told.code) == (503, "recovering")
    row = await run.ledger_row(
        "SELECT count(*) AS found FROM reservations WHERE sale_id = $1 AND buyer_id = 'ann'"
    )
    return bool(row["found"])


async def _ask_on(beyond: Calls, servers: Replicated) -> int:
    """Ask the old primary's gateway until that primary refuses writes; returns how often."""
    asked = 0

    async def has_stopped() -> bool:
        nonlocal asked
        asked += 1
        attempt = await beyond.reserve(f"left-{asked}", "first", UNIT)
        assert not attempt.accepted, "no replica has it"
        return await writes_no_more(servers.primary.url)

    await wait_until(has_stopped, "the old primary writes no more")
    return asked
