"""Hands the replies of one script call to those who wait for them, one each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.inventory.errors import InventoryError

Reply = TypeVar("Reply")


async def hand_out(
    call: Awaitable[Sequence[Reply]],
    waiters: Sequence[asyncio.Future[Reply]],
    ended: Callable[[], None],
) -> None:
    """Await `call`; its replies, or its InventoryError, go to the waiters that are still there.

    `ended` is called first, so that the next call is under way while these are answered. Whatever
    else `call` raises, a cancellation included, cancels all waiters and is raised again.
    """
    try:
        try:
            replies = await call
        finally:
            ended()
        for waiter, reply in zip(waiters, replies, strict=True):
            if not waiter.done():
                waiter.set_result(reply)
    except InventoryError as error:
        for waiter in waiters:  # each gets a copy: a traceback grows where it is raised
            if not waiter.done():
                waiter.set_exception(type(error)(*error.args))
    except BaseException:
        for waiter in waiters:
            waiter.cancel()
        raise
