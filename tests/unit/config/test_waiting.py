import asyncio

import pytest

from config.waiting import Backoff, Spaced, happened_within, poll_until
from tests.support.waiting import wait_until


def test_pauses_double_up_to_the_most_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0, jitter=False)
    assert [backoff.next_seconds() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.failures == 5
    backoff.reset()
    assert (backoff.failures, backoff.next_seconds()) == (0, 0.5)


def test_jitter_keeps_a_pause_between_half_and_all_of_its_length() -> None:
    pauses = [Backoff(8.0, 8.0).next_seconds() for _ in range(200)]
    assert all(4.0 <= pause <= 8.0 for pause in pauses)
    assert len(set(pauses)) > 1


async def test_a_pause_ends_as_soon_as_the_process_is_to_stop() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(Backoff(3600.0, 3600.0).pause_unless(stop))
    stop.set()
    assert await waiting
    assert not await happened_within(asyncio.Event(), 0.0)


async def test_polling_looks_again_until_the_condition_holds() -> None:
    looks = iter((False, False, True))

    async def holds() -> bool:
        return next(looks)

    assert await poll_until(holds, 3600.0, first_seconds=0.001, most_seconds=0.002)


async def test_polling_ends_at_its_deadline_with_a_last_look() -> None:
    looks = 0

    async def never() -> bool:
        nonlocal looks
        looks += 1
        return False

    assert not await poll_until(never, 0.0, first_seconds=3600.0)
    assert looks == 1
    assert not await poll_until(never, 0.001, first_seconds=3600.0)
    assert looks == 3, "one look at once, one at the deadline"


async def test_what_the_condition_raises_is_raised() -> None:
    async def fails() -> bool:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await poll_until(fails, 1.0, first_seconds=0.001)


async def test_of_many_calls_the_first_is_made_at_once_and_the_others_together() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    spaced = Spaced(call, 0.05)
    for _ in range(10):
        spaced()
    assert calls == 1
    await wait_until(lambda: calls == 2)
    far = Spaced(call, 3600.0)
    for _ in range(10):
        far()
        await asyncio.sleep(0)
    assert calls == 3
