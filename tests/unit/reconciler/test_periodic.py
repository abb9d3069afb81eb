"""How duties are kept running, and what configurations are refused."""

import asyncio
from typing import ClassVar

import pytest

from gateway.inventory.errors import Recovering
from reconciler.comparing.compare import CompareConfig
from reconciler.duties.expire import ExpireConfig
from reconciler.duties.recover import RecoverConfig
from reconciler.duties.trim import TrimConfig
from reconciler.duties.window import WindowConfig
from reconciler.keeping.metrics import ReconcilerMetrics
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import Keeper, for_each
from tests.support.waiting import WAIT_SECONDS, wait_until

AN_HOUR_SECONDS = 3600.0


class Scripted:
    """A duty that answers or fails by its script, and then sleeps for an hour."""

    name: ClassVar[str] = "scripted"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = WAIT_SECONDS

    def __init__(self, *answers: float | BaseException) -> None:
        self.answers = list(answers)
        self.runs = 0

    async def run_once(self) -> float:
        self.runs += 1
        if not self.answers:
            return AN_HOUR_SECONDS
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


async def test_a_duty_outlives_outages_and_defects() -> None:
    cancelled_by_a_client = asyncio.CancelledError()
    duty = Scripted(Recovering("away"), 0.0, RuntimeError("a defect"), cancelled_by_a_client)
    metrics = ReconcilerMetrics()
    keeper = Keeper(duty, lambda: True, metrics)
    task = asyncio.create_task(keeper.keep())
    await wait_until(lambda: duty.runs == 5)
    keeper.stop()
    keeper.stop()
    await asyncio.wait_for(task, WAIT_SECONDS)
    for result, runs in (("waits", 1), ("failed", 2), ("done", 2)):
        labels = {"duty": "scripted", "result": result}
        assert metrics.registry.get_sample_value("dropgate_duty_runs_total", labels) == runs


async def test_a_duty_that_is_cancelled_from_outside_ends() -> None:
    duty = Scripted()
    task = asyncio.create_task(Keeper(duty, lambda: True, ReconcilerMetrics()).keep())
    await wait_until(lambda: duty.runs == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_wake_cuts_the_pause_short() -> None:
    duty = Scripted()
    keeper = Keeper(duty, lambda: True, ReconcilerMetrics())
    task = asyncio.create_task(keeper.keep())
    await wait_until(lambda: duty.runs == 1)
    keeper.wake()
    await wait_until(lambda: duty.runs == 2)
    keeper.stop()
    await asyncio.wait_for(task, WAIT_SECONDS)


async def test_a_duty_that_may_not_run_waits_until_it_may() -> None:
    allowed: list[bool] = []
    duty = Scripted()
    keeper = Keeper(duty, lambda: bool(allowed), ReconcilerMetrics())
    task = asyncio.create_task(keeper.keep())
    keeper.wake()
    await asyncio.sleep(0)
    assert duty.runs == 0
    allowed.append(True)
    keeper.wake()
    await wait_until(lambda: duty.runs == 1)
    keeper.stop()
    await asyncio.wait_for(task, WAIT_SECONDS)


async def test_a_run_ends_when_it_is_no_longer_allowed() -> None:
    allowed = [True]
    ended: list[str] = []

    class Endless(Scripted):
        async def run_once(self) -> float:
            self.runs += 1
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("run")
            return 0.0

    duty = Endless()
    keeper = Keeper(duty, lambda: bool(allowed), ReconcilerMetrics())
    task = asyncio.create_task(keeper.keep())
    await wait_until(lambda: duty.runs == 1)
    keeper.wake()
    keeper.wake()
    await asyncio.sleep(0)
    assert ended == []
    allowed.clear()
    keeper.wake()
    keeper.wake()
    await wait_until(lambda: ended == ["run"])
    allowed.append(True)
    keeper.wake()
    await wait_until(lambda: duty.runs == 2)
    allowed.clear()
    keeper.stop()
    await asyncio.wait_for(task, WAIT_SECONDS)


async def test_one_in_trouble_holds_up_no_other() -> None:
    async def work(number: int) -> int:
        if number == 2:
            raise Recovering("away")
        return number

    assert await for_each([1, 2, 3], work, Notices(), "waits") == [1, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExpireConfig(interval_seconds=0.6),
        lambda: ExpireConfig(interval_seconds=0),
        lambda: ExpireConfig(batch_holds=1001),
        lambda: ExpireConfig(batch_holds=0),
        lambda: TrimConfig(interval_seconds=11),
        lambda: WindowConfig(interval_seconds=0),
        lambda: RecoverConfig(retry_seconds=2),
        lambda: CompareConfig(interval_seconds=0),
        lambda: CompareConfig(page_records=1001),
    ],
)
def test_configurations_that_could_not_keep_a_promise_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"expire|trim|window|recover|compare"):
        make()
