"""Faults of the ledger: another copy of it takes over, or its own data come back older.

Where there is a standby of Postgres it is the primary afterwards, and the old primary its standby.
"""

import random

import asyncpg

from config.stack.postgres import PostgresServer
from tests.chaos.faults.extra import extra
from tests.chaos.faults.failovers import watched
from tests.chaos.rig.trial import Trial
from tests.support.backups import Backup
from tests.support.servers import unique
from tests.support.standby import spare_standby
from tests.support.waiting import wait_until

LAG_SECONDS_MAX = 3.0
APPLIED = "SELECT sum(epoch * 1000000 + sequence)::bigint FROM watermarks"


async def lose_ledger(run: Trial, rng: random.Random) -> str:
    """The ledger's primary is lost; the synchronous standby that takes over has every commit."""
    del rng
    await watched(run).ledger.complete()
    return await _fail_over(run)


async def set_ledger_back(run: Trial, rng: random.Random) -> str:
    """The ledger's primary is lost; the asynchronous standby that takes over lacks the end."""
    ledger = watched(run).ledger
    await _mended(run)
    await ledger.complete()
    await spare_standby(ledger.leader)
    ledger.lag()
    seconds = rng.uniform(0, LAG_SECONDS_MAX)
    await run.passed(seconds)
    await run.drained()  # so that the ledger has had what it is about to lack
    before = await run.watermark()
    done = await _fail_over(run)
    return f"{done}, which lacked the last {seconds:.1f} s up to {before}"


async def replace_ledger(run: Trial, rng: random.Random) -> str:
    """The standby is promoted while the primary runs on, and an order writer and a reconciler stay
    with it: they do nothing there any more.
    """
    up = watched(run)
    await up.complete()
    await _mended(run)
    await up.ledger.complete()
    old, number = up.ledger.leader, up.serving("postgres")
    await spare_standby(old)  # or no commit would be answered there, once the standby is gone
    own = {
        "POSTGRES__DSN": old.dsn,
        "REDIS__URL": up.url_of(up.primary),
        "REDIS__DURABILITY": "replica",
    }
    logs = [unique("left-behind") for _ in range(2)]
    async with (
        extra(up, "order-writer", log=logs[0], **own),
        extra(up, "reconciler", log=logs[1], **own),
    ):
        up.ledger.lag()
        await run.passed(rng.uniform(0, LAG_SECONDS_MAX))
        await up.ledger.take_over()
        paths = [up.data / "logs" / f"{log}.log" for log in logs]
        await wait_until(
            lambda: all("ledger_fenced" in path.read_text() for path in paths), "both are fenced"
        )
        before = await _applied(old)
        await run.drained()
        await run.passed(rng.uniform(0, LAG_SECONDS_MAX))
        assert await _applied(old) == before, "a fenced order writer has applied something"
    async with run.down("postgres", which=number):
        await up.ledger.follow_with(old)
    await up.ledger.complete()
    return f"promoted ledger {up.serving('postgres')} while ledger {number} had clients"


async def put_copy_back(run: Trial, rng: random.Random) -> str:
    """The only Postgres comes back with the data it had some seconds ago."""
    server = PostgresServer(run.up.data / "postgres")
    backup, seconds = Backup(server), rng.uniform(0, LAG_SECONDS_MAX)
    await _mended(run)
    async with run.down("postgres"):
        await server.between_tries()  # backends that outlived their postmaster write there
        await backup.keep()
    await run.passed(seconds)
    await run.drained()
    before = await run.watermark()
    async with run.down("postgres"):
        await server.between_tries()
        await backup.put_back()
    return f"put the ledger back by {seconds:.1f} s from {before}"


async def _mended(run: Trial) -> None:
    """Wait until the partition answers: a rebuild begins the outbox anew, and what it had dropped
    by then an older ledger could get from nowhere.
    """
    await run.reserve(unique("asks"), "first")


async def _applied(server: PostgresServer) -> int:
    """A number that grows with everything this server's ledger applies."""
    connection = await asyncpg.connect(server.dsn)
    try:
        return int(await connection.fetchval(APPLIED))
    finally:
        await connection.close()


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
