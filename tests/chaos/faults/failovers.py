"""Faults after which another Redis is the primary, and the old one comes back as a replica of it.

They take turns with all other faults, so the lost primary may be a promoted replica, and
the damage of the last fault may not be mended yet.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from config.stack.server import HOST, free_port
from loadtest.client.answers import Line
from loadtest.client.calls import Calls
from loadtest.client.history import Attempt
from tests.chaos.faults.extra import extra, listens
from tests.chaos.rig.trial import SKU, Trial
from tests.chaos.rig.watched import WatchedUp
from tests.support.sentinel import client_of
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

ISOLATED_SECONDS_MAX = 3 * WAIT_SECONDS


async def lose_primary(run: Trial, rng: random.Random) -> str:
    """The primary dies for long enough that Sentinel replaces it."""
    del rng
    up = watched(run)
    # Sentinel may promote a replica that is still empty: then two of three copies would be lost.
    await up.complete()
    old = up.primary
    async with run.down("redis"):
        await up.replaced(old)
    await up.complete()
    return f"killed primary {old}, then {up.primary} was it"


async def isolate_primary(run: Trial, rng: random.Random) -> str:
    """The primary is cut off while clients keep asking it, until it refuses writes."""
    del rng
    up = watched(run)
    await up.complete()
    old, port, name = up.primary, free_port(), unique("left-behind")
    own = {
        "REDIS__URL": up.url_of(old),
        "REDIS__DURABILITY": "replica",
        "GATEWAY__PORT": str(port),
        "GATEWAY__RUN_DIR": str(up.folder / name),
    }
    async with extra(up, "gateway", log=name, **own):
        await wait_until(lambda: listens(port), "the other gateway listens")
        async with run.calls_at(f"http://{HOST}:{port}") as beyond:
            await beyond.reserve(f"{name}-before", "first", (Line(SKU, 1),))
            up.ways[old].refuse()
            try:
                # No longer: a replica not yet reconfigured would follow the old primary again.
                async with _asked_on(beyond, name) as asked:
                    await up.replaced(old)
                    await wait_until(lambda: writes_no_more(up.url_of(old)), "it writes no more")
            finally:
                up.ways[old].accept()
            await up.complete()
    return f"cut primary {old} off, asked it {len(asked)} times, then {up.primary} was it"


@asynccontextmanager
async def _asked_on(beyond: Calls, name: str) -> AsyncIterator[list[Attempt]]:
    """Buyers ask this gateway in turn during the block, and no buyer may get a unit."""
    asked: list[Attempt] = []
    is_over = asyncio.Event()

    async def has_ended() -> bool:
        asked.append(await beyond.reserve(f"{name}-{len(asked)}", "first", (Line(SKU, 1),)))
        assert not asked[-1].accepted, "no replica has it"
        return is_over.is_set()

    asking = asyncio.create_task(
        wait_until(has_ended, "it is over", timeout_seconds=ISOLATED_SECONDS_MAX)
    )
    try:
        yield asked
    finally:
        is_over.set()
        await asking


def watched(run: Trial) -> WatchedUp:
    assert isinstance(run.up, WatchedUp), "there is no Sentinel"
    return run.up


async def writes_no_more(url: str) -> bool:
    """Whether this Redis refuses all writes because too few replicas follow it."""
    async with client_of(url) as client:
        try:
            await client.set("written", "by somebody who asks no Sentinel")
        except RedisError as error:
            return "NOREPLICAS" in str(error)
    return False
