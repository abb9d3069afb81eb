"""Hands the replies of one script call to those who wait for them, one each."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from gateway.inventory.errors import InventoryError

Reply = TypeVar("Reply")


async def hand_out(
    call: Awaitable[Sequence[Reply]], waiters: Sequence[asyncio.Future[Reply]]
) -> None:
    """Await `call`; its replies, or its InventoryError, go to the waiters that are still there.

    Whatever else it raises, a cancellation included, cancels them all and is raised again.
    """
    try:
        for waiter, reply in zip(waiters, await call, strict=True):
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
