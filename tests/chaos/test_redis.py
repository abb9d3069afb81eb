"""Redis is killed, loses its last bytes, or everything; what was answered is there all the same."""

import time
from datetime import datetime

from loadtest.client.history import Attempt
from loadtest.verdict.answers.rules import history_violations
from loadtest.verdict.finding import Outcome
from tests.chaos.faults.damage import lose_key, retype_key, truncate_redis
from tests.chaos.rig.trial import LIMIT, UNIT, trial
from tests.support.insisting import insist
from tests.support.up import Up
from tests.support.waiting import wait_until

TRUNCATED_BYTES = 400  # the last one or two scripts' effects


async def test_a_killed_redis_comes_back_with_all_it_answered(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(2):
                await run.kill_and_wait("redis")
                await run.goes_on()
        await run.judge()


async def test_holds_keep_the_time_they_had_left_when_redis_died(up: Up) -> None:
    async with trial(up, hold_seconds=15) as run:
        held = await run.reserve("ann", "first")
        deadline = _deadline(held)
        async with run.down("redis"):
            await wait_until(lambda: time.time() > deadline, "the hold would lapse")
        shown = await insist(lambda: run.calls.read("ann", held.reservation_id))
        assert _deadline(shown) > deadline
        paid = await run.pay(held)
        assert paid.accepted or (paid.status == 410 and time.time() > _deadline(shown)), paid
        await run.judge()


async def test_a_redis_that_lost_its_last_bytes_is_rebuilt_from_the_ledger(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.stopped("gateway", "reconciler"):
                await run.drained()  # otherwise the lost bytes would be the only copy of an answer
                async with run.down("redis"):
                    truncate_redis(run.up.data / "redis", TRUNCATED_BYTES)
            await run.goes_on()
        await run.judge()
        assert await run.rebuilds() >= 1


async def test_what_was_only_in_a_lost_redis_is_lost_once_and_never_sold_twice(up: Up) -> None:
    """The one possible loss: the disk kept too little, and the ledger had not received the rest."""
    async with trial(up, units=20, hold_seconds=600) as run:
        kept = await run.reserve("ann", "first")
        await run.drained()
        async with run.down("order_writer"):  # stopped, it would still have what it was sent
            lost = await run.reserve("ben", "first")
            assert lost.accepted
            async with run.redis() as redis:
                await redis.flushall()
        again = await run.reserve("ben", "second")
        shown = await insist(lambda: run.calls.read("ben", lost.reservation_id))
        assert shown.status == 404
        for held in (kept, again):
            assert (await run.pay(held)).accepted
        await run.load.sell_out()
        broken = [f for f in (await run.verdict()).findings if f.outcome is Outcome.BROKEN]
        assert [finding.invariant for finding in broken] == [2], "and the verdict names it"
        assert lost.reservation_id in broken[0].examples[0]
        forgotten, promised = history_violations(run.history, run.units, LIMIT)
        assert lost.reservation_id in forgotten
        assert promised == "21 units were promised at once, of 20", "and 20 of them are sold"


async def test_a_frozen_redis_makes_nobody_wait_for_ever_and_loses_nothing(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.stopped("redis"):
                told = await run.calls.reserve("ann", "first", UNIT)
                assert (told.status, told.retry_after) == (503, True)
            await run.goes_on()
        await run.judge()


async def test_an_emptied_redis_is_rebuilt_from_the_ledger(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.stopped("gateway", "reconciler"):
                await run.drained()
                async with run.redis() as redis:
                    await redis.flushall()
            await run.goes_on()
        await run.judge()
        assert await run.rebuilds() >= 1


async def test_a_key_that_is_lost_and_one_of_another_type_are_rebuilt_from_the_ledger(
    up: Up,
) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way(20)
            for damage in (lose_key, retype_key):
                async with run.stopped("gateway", "reconciler"):
                    await run.drained()
                    async with run.redis() as redis:
                        await damage(redis, run.sale_id, "buyers")
                await run.goes_on(served=20, fresh=5)
        await run.judge()
        assert await run.rebuilds() == 2


async def test_a_loss_before_the_last_one_is_mended_is_mended_with_it(up: Up) -> None:
    async with trial(up) as run:
        async with run.load.running():
            await run.under_way(20)
            async with run.stopped("gateway", "reconciler"):
                await run.drained()
                async with run.down("redis"):
                    truncate_redis(run.up.data / "redis", TRUNCATED_BYTES)
                await run.drained()  # though Redis is older than the ledger now
                async with run.redis() as redis:
                    await retype_key(redis, run.sale_id, "meta")
                    await run.drained()  # the partition's position cannot be read
                    await lose_key(redis, run.sale_id, "buyers")
            await run.goes_on(served=20, fresh=5)
        await run.judge()
        assert await run.rebuilds() >= 1


def _deadline(told: Attempt) -> float:
    return datetime.fromisoformat(told.expires_at).timestamp()
