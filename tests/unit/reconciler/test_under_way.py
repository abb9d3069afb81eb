"""Work that goes on beside a duty: bounded, each subject at its own pace, cut off as a whole."""

import asyncio
from typing import ClassVar

import pytest

from gateway.inventory.errors import Recovering
from reconciler.keeping.metrics import ReconcilerMetrics
from reconciler.keeping.periodic import Keeper
from reconciler.keeping.under_way import UnderWay
from tests.support.waiting import WAIT_SECONDS, wait_until


async def test_no_more_than_the_bound_at_once_and_each_once() -> None:
    under_way, go_on = UnderWay("waits", 2), asyncio.Event()
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        await go_on.wait()

    for number in (1, 1, 2, 3):
        under_way.begin(number, lambda number=number: work(number))  # type: ignore[misc]
    await wait_until(lambda: len(begun) == 2)
    assert [under_way.has(number) for number in (1, 2, 3, 4)] == [True, True, True, False]
    go_on.set()
    await wait_until(lambda: not any(under_way.has(number) for number in (1, 2, 3)))
    assert begun == [1, 2, 3]


@pytest.mark.parametrize("error", [Recovering("not yet"), RuntimeError("a defect")])
async def test_a_subject_that_fails_pauses_longer_every_time_and_leaves_its_place(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("reconciler.keeping.under_way.PAUSE_FIRST_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr("reconciler.keeping.under_way.PAUSE_MOST_SECONDS", 4 * WAIT_SECONDS)
    under_way, done = UnderWay("waits", 1), asyncio.Event()

    async def fail() -> None:
        raise error

    async def work() -> None:
        done.set()

    under_way.begin("sick", fail)
    under_way.begin("well", work)
    await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert under_way.has("sick")
    await under_way.end()
    assert not under_way.has("sick")
    assert under_way._pauses["sick"].failures == 1


async def test_a_keeper_cuts_the_work_off_with_the_lead_and_at_the_stop() -> None:
    allowed = [True]
    ended: list[str] = []

    class Lasting:
        name: ClassVar[str] = "lasting"
        needs_lead: ClassVar[bool] = True
        deadline_seconds: ClassVar[float] = WAIT_SECONDS

        def __init__(self) -> None:
            self.under_way = UnderWay("waits", 1)

        async def run_once(self) -> float:
            self.under_way.begin("subject", self.work)
            return WAIT_SECONDS

        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("work")

        async def end_work(self) -> None:
            await self.under_way.end()

    duty = Lasting()
    keeper = Keeper(duty, lambda: bool(allowed), ReconcilerMetrics())
    task = asyncio.create_task(keeper.keep())
    await wait_until(lambda: duty.under_way.has("subject"))
    await asyncio.sleep(0)
    allowed.clear()
    keeper.wake()
    await wait_until(lambda: ended == ["work"])
    allowed.append(True)
    keeper.wake()
    await wait_until(lambda: duty.under_way.has("subject"))
    await asyncio.sleep(0)
    keeper.stop()
    await asyncio.wait_for(task, WAIT_SECONDS)
    assert ended == ["work", "work"]
