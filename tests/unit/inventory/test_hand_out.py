"""Handing out one call's replies: the next call first, then the waiters, whatever the call does."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.inventory.errors import Recovering
from gateway.inventory.hand_out import hand_out


def _waiters(count: int) -> list[asyncio.Future[int]]:
    loop = asyncio.get_running_loop()
    return [loop.create_future() for _ in range(count)]


async def _reply(*numbers: int) -> Sequence[int]:
    return numbers


async def _fail() -> Sequence[int]:
    raise Recovering("no connection to Redis")


async def _never() -> Sequence[int]:
    await asyncio.Event().wait()
    return ()


async def test_the_next_call_is_under_way_before_anybody_is_answered() -> None:
    (waiter,) = waiters = _waiters(1)
    order: list[str] = []
    waiter.add_done_callback(lambda _: order.append("answered"))

    def ended() -> None:
        # What is made ready now has its turn before the callbacks of what is answered next.
        asyncio.get_running_loop().call_soon(order.append, "next call")

    await hand_out(_reply(1), waiters, ended)
    await asyncio.sleep(0)
    assert order == ["next call", "answered"]


async def test_who_has_left_is_passed_over() -> None:
    left, stayed = waiters = _waiters(2)
    left.cancel()
    await hand_out(_reply(1, 2), waiters, lambda: None)
    assert stayed.result() == 2


async def test_each_gets_an_error_of_its_own() -> None:
    waiters = _waiters(2)
    ended: list[bool] = []
    await hand_out(_fail(), waiters, lambda: ended.append(True))
    errors = [waiter.exception() for waiter in waiters]
    assert [str(error) for error in errors] == ["no connection to Redis"] * 2
    assert errors[0] is not errors[1]
    assert ended == [True]


async def test_a_call_that_is_cancelled_leaves_nobody_waiting() -> None:
    waiters = _waiters(2)
    ended: list[bool] = []
    task = asyncio.ensure_future(hand_out(_never(), waiters, lambda: ended.append(True)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(waiter.cancelled() for waiter in waiters)
    assert ended == [True]
