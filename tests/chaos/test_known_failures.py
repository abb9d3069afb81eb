"""Failures of other shops, tried here by some buyers while many buy: docs/known_failures.md."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from loadtest.client.answers import Line
from tests.chaos.rig.load import SHARES
from tests.chaos.rig.trial import LIMIT, SKU, UNIT, Trial, trial
from tests.support.insisting import insist
from tests.support.up import Up
from tests.support.waiting import wait_until

UNITS = 300
TIMES = 6  # how often each failure is tried
HOLD_SECONDS = 6  # of the sale where holds run out
LONG_HOLD_SECONDS = 600  # of the sale where every hold is resolved
ALL_RESOLVED = replace(SHARES, lapses=0.0, cut=0.0)

Abuse = Callable[[Trial, str], Awaitable[None]]


async def one_sku_on_two_lines(run: Trial, name: str) -> None:
    """Each line by itself is within the limit."""
    beyond = await run.reserve(name, "beyond", (Line(SKU, 1), Line(SKU, LIMIT)))
    assert (beyond.status, beyond.code) == (409, "limit_exceeded")
    within = await run.reserve(name, "within", (Line(SKU, 1), Line(SKU, LIMIT - 1)))
    assert (within.accepted, within.units) == (True, LIMIT)
    await run.pay(within)


async def many_holds_at_once(run: Trial, name: str) -> None:
    """A buyer who clicks in many windows."""
    asked = [run.reserve(name, f"window-{n}") for n in range(6 * LIMIT)]
    found = await asyncio.gather(*asked)
    held = [one for one in found if one.accepted]
    assert len(held) == LIMIT
    assert {one.code for one in found if not one.accepted} == {"limit_exceeded"}
    for one in held:
        await run.pay(one)


async def a_cancel_that_is_repeated(run: Trial, name: str) -> None:
    """Cancels sent together, and again when another buyer may have the unit."""
    held = await run.reserve(name, "first")
    found = await asyncio.gather(*(run.cancel(held) for _ in range(6)))
    found.append(await run.cancel(held))
    assert {one.status for one in found} == {200}


async def a_payment_at_the_deadline(run: Trial, name: str) -> None:
    """From just before until just after: accepted until some moment, and never again after it."""
    held = await run.reserve(name, "first")
    deadline = datetime.fromisoformat(held.expires_at).timestamp()
    await wait_until(lambda: time.time() > deadline - 0.03, "it is nearly over")
    answers = {one.status for one in await asyncio.gather(*(run.pay(held) for _ in range(6)))}
    await wait_until(lambda: time.time() > deadline, "it is over")
    late = await run.pay(held)
    assert answers in ({200}, {410}, {200, 410})
    assert late.status == (200 if 200 in answers else 410), "one winner; a retry gets its answer"


async def a_timer_that_is_reset(run: Trial, name: str) -> None:
    """A buyer asks for more time again and again, and tries every other call, too."""
    held = await run.reserve(name, "first")
    for _ in range(2 * HOLD_SECONDS):
        await run.calls.extend(name, held.reservation_id, 1)
        await run.calls.reserve(name, "first", UNIT)
    told = await insist(lambda: run.calls.read(name, held.reservation_id))
    first, last = (datetime.fromisoformat(one.expires_at) for one in (held, told))
    assert (last - first).total_seconds() <= HOLD_SECONDS, "the sale's allowance"
    await run.cancel(held)


async def stock_below_what_is_sold(run: Trial, name: str) -> None:
    """An operator counts again, and finds fewer than buyers have."""
    held = await run.reserve(name, "first")
    refused = await insist(lambda: run.calls.adjust(SKU, -run.units))
    assert refused.status == 409
    assert b"floor_violation" in refused.body
    await run.cancel(held)


ABUSES: tuple[Abuse, ...] = (
    one_sku_on_two_lines,
    many_holds_at_once,
    a_cancel_that_is_repeated,
    stock_below_what_is_sold,
)
ABUSES_OF_TIME: tuple[Abuse, ...] = (a_payment_at_the_deadline, a_timer_that_is_reset)


async def test_what_beat_other_shops_changes_nothing_while_many_buy(unhurried_up: Up) -> None:
    long = trial(unhurried_up, units=UNITS, hold_seconds=LONG_HOLD_SECONDS, shares=ALL_RESOLVED)
    async with long as run, trial(unhurried_up, units=UNITS, hold_seconds=HOLD_SECONDS) as brief:
        async with run.load.running(), brief.load.running():
            await run.under_way(10)
            await brief.under_way(10)
            await asyncio.gather(
                *(
                    abuse(of, f"{abuse.__name__}-{n}")
                    for of, abuses in ((run, ABUSES), (brief, ABUSES_OF_TIME))
                    for abuse in abuses
                    for n in range(TIMES)
                )
            )
        await run.judge()
        await brief.judge()


async def test_a_partition_in_trouble_holds_up_no_other(unhurried_up: Up) -> None:
    async with trial(unhurried_up, units=20) as bad, trial(unhurried_up) as run:
        async with run.load.running():
            await run.under_way(10)
            await bad.drained()
            async with bad.redis() as redis:
                await redis.delete(f"{{{bad.sale_id}:0}}:stock", f"{{{bad.sale_id}:0}}:outbox")
                await redis.set(f"{{{bad.sale_id}:0}}:outbox", "of another type")
            await run.goes_on(served=60, fresh=15)
            await run.drained()
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()
        await bad.judge()
