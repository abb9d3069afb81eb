"""A mix of faults drawn from a seed, for as long as asked, on one sale after another.

`make chaos SEED=7 MINUTES=10` repeats the faults of seed 7 for ten minutes, with a broker if asked
for by `EVENT_LOG=kafka`; without a seed a new one is drawn. In long runs of even seeds Redis has
replicas and a Sentinel, Postgres has a synchronous standby, and failovers of both are among the
faults; `REDIS=watched` or `REDIS=single` decides otherwise. With `LEDGER=older`, the ledger also
comes back without its end, or is on two primaries. `MINUTES=0.1` is one sale or two.
Every sale gets a few faults while buyers come, is sold out, and judged.
"""

import os
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.faults.aimed import aimed_kill
from tests.chaos.faults.damage import KEYS, lose_key, retype_key, truncate_redis, truncate_topic
from tests.chaos.faults.failovers import isolate_primary, lose_primary
from tests.chaos.faults.ledgers import (
    lose_ledger,
    put_copy_back,
    replace_ledger,
    set_ledger_back,
)
from tests.chaos.rig.trial import Trial, trial
from tests.chaos.rig.watched import WatchedUp
from tests.support.up import Up

SHORT_RUN_MINUTES = 0.3
FAULTS_PER_SALE_MAX = 4
FREEZE_SECONDS_MAX = 3.0
TRUNCATED_BYTES_MAX = 4000
SERVERS = frozenset({"redis", "postgres", "kafka"})
COPIED = frozenset({"redis", "postgres"})  # servers that may have replicas or a standby

Fault = Callable[[Trial, random.Random], Awaitable[str]]


async def kill_one(run: Trial, rng: random.Random) -> str:
    """Kill one process."""
    name = rng.choice(sorted(run.up.ready.pids))
    which = rng.randrange(len(run.pids(name)))
    run.kill(name, which=which)
    return f"killed {name} {which}"


async def kill_several(run: Trial, rng: random.Random) -> str:
    """Kill several processes at once."""
    names = sorted(run.up.ready.pids)
    chosen = rng.sample(names, rng.randint(2, len(names)))
    for name in chosen:
        run.kill(name)
    return f"killed {' and '.join(chosen)}"


async def kill_while_down(run: Trial, rng: random.Random) -> str:
    """A process dies while a server is away."""
    names = sorted(run.up.ready.pids)
    server = rng.choice([name for name in names if name in SERVERS])
    other = rng.choice([name for name in names if name != server])
    async with run.down(server):
        run.kill(other)
    return f"killed {other} while {server} was down"


async def freeze(run: Trial, rng: random.Random) -> str:
    """A server or process hangs while buyers come."""
    name = rng.choice(sorted(run.up.ready.pids))
    seconds = rng.uniform(0.1, FREEZE_SECONDS_MAX)
    which = rng.randrange(len(run.pids(name))) if name in COPIED else None
    async with run.stopped(name, which=which):
        await run.passed(seconds)
    return f"froze {name} {'' if which is None else which} for {seconds:.1f} s"


async def hang_up(run: Trial, rng: random.Random) -> str:
    """Buyers cut their connections."""
    buyers = rng.randint(10, 200)
    await run.load.hang_up(buyers)
    return f"{buyers} buyers hung up"


async def flush(run: Trial, rng: random.Random) -> str:
    """Redis loses everything the ledger already has."""
    del rng
    async with run.stopped("gateway", "reconciler"):
        await run.drained()
        async with run.redis() as redis:
            await redis.flushall()
    return "emptied redis"


async def damage_key(run: Trial, rng: random.Random) -> str:
    """One key of the partition is lost, or overwritten, after the ledger has all of it."""
    damage, key = rng.choice((lose_key, retype_key)), rng.choice(KEYS)
    async with run.stopped("gateway", "reconciler"):
        await run.drained()
        async with run.redis() as redis:
            await damage(redis, run.sale_id, key)
    return f"{damage.__name__} {key}"


async def cut_end_of_redis(run: Trial, rng: random.Random) -> str:
    """A disk lost the last bytes of what Redis had written; the ledger had them."""
    lost_bytes = rng.randint(1, TRUNCATED_BYTES_MAX)
    async with run.stopped("gateway", "reconciler"):
        await run.drained()
        async with run.down("redis"):
            truncate_redis(run.redis_folder, lost_bytes)
    return f"cut {lost_bytes} bytes off redis"


async def cut_end_of_log(run: Trial, rng: random.Random) -> str:
    """A broker lost the last events it had acknowledged, whether the ledger had them or not."""
    if "kafka" not in run.up.ready.pids:
        return "there is no kafka to cut"
    lost_bytes = rng.randint(1, TRUNCATED_BYTES_MAX)
    async with run.down("kafka"):
        truncate_topic(run.up.data / "kafka", lost_bytes)
    return f"cut {lost_bytes} bytes off kafka"


async def terminate(run: Trial, rng: random.Random) -> str:
    """Postgres ends every connection."""
    del rng
    return f"terminated {await run.terminate_backends()} backends"


FAULTS: tuple[Fault, ...] = (
    *(kill_one, kill_one, kill_several, kill_while_down, aimed_kill, aimed_kill),
    *(freeze, hang_up, flush, damage_key, cut_end_of_redis, cut_end_of_log, terminate),
)

WATCHED_FAULTS: tuple[Fault, ...] = (
    *FAULTS,
    *(lose_primary, lose_primary, isolate_primary, isolate_primary, lose_ledger, lose_ledger),
)

# Faults that take from the ledger what it had, with a standby and without.
OLDER_LEDGER_FAULTS: dict[bool, tuple[Fault, ...]] = {
    True: (set_ledger_back, set_ledger_back, replace_ledger, replace_ledger),
    False: (put_copy_back, put_copy_back),
}


@pytest.fixture
def seed() -> int:
    """The seed asked for, or a drawn seed; printed, so that a failure can be repeated."""
    drawn = int(os.environ.get("DROPGATE_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"repeat with: make chaos SEED={drawn} MINUTES={_minutes():g}")
    return drawn


@pytest.fixture
def drawn_up(request: pytest.FixtureRequest, seed: int) -> Up:
    """A stack of the kind that the seed or the caller chooses."""
    by_seed = "watched" if _minutes() > SHORT_RUN_MINUTES and seed % 2 == 0 else "single"
    kind = os.environ.get("DROPGATE_TEST_REDIS") or by_seed
    found = request.getfixturevalue({"watched": "watched_up", "single": "up"}[kind])
    assert isinstance(found, Up)
    return found


async def test_a_random_mix_of_faults_breaks_no_invariant(drawn_up: Up, seed: int) -> None:
    faults = _faults_of(drawn_up)
    rng = random.Random(seed)
    until = time.monotonic() + 60 * _minutes()
    sales = 0
    while sales == 0 or time.monotonic() < until:
        sales += 1
        async with trial(drawn_up, seed=rng.randrange(2**32)) as run:
            async with run.load.running():
                await run.under_way(20)
                for _ in range(rng.randint(1, FAULTS_PER_SALE_MAX)):
                    await run.all_running()
                    print(f"sale {sales}:", await rng.choice(faults)(run, rng))
                    # Otherwise the next fault comes before everything has recovered.
                    if rng.random() < 0.7:
                        await run.goes_on(served=20, fresh=3)
                await run.goes_on(served=20, fresh=3)
            await run.judge()
    if isinstance(drawn_up, WatchedUp):
        print(f"{drawn_up.failovers} failovers")


def _faults_of(up: Up) -> tuple[Fault, ...]:
    is_watched = isinstance(up, WatchedUp)
    faults = WATCHED_FAULTS if is_watched else FAULTS
    if os.environ.get("DROPGATE_TEST_LEDGER") == "older":
        faults += OLDER_LEDGER_FAULTS[is_watched]
    return faults


def _minutes() -> float:
    return float(os.environ.get("DROPGATE_TEST_MINUTES") or SHORT_RUN_MINUTES)
