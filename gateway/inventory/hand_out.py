"""Hands the replies of one script call to their waiters, one reply each."""

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
    """Await `call`; its replies, or its InventoryError, go to the waiters that are not done.

    `ended` is called first, so that the next call is under way while waiters are answered. Any
    other exception of `call`, a cancellation included, cancels all waiters and is raised again.
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
        for (
            waiter
        ) in waiters:  # a copy for each waiter: a traceback grows whenever its error is raised
            if not waiter.done():
                waiter.set_exception(type(error)(*error.args))
    except BaseException:
        for waiter in waiters:
            waiter.cancel()
        raise
