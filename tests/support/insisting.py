"""Asking again while a part of the system is away, as every client of dropgate has to."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from loadtest.client.history import NO_ANSWER
from tests.support.waiting import wait_until

# What an outage looks like to a caller: the connection breaks, or the answer says "ask again".
PASSING = frozenset({NO_ANSWER, 503})


class HasStatus(Protocol):
    """An answer of any client: its HTTP status, or `NO_ANSWER`."""

    @property
    def status(self) -> int:
        """The status code."""


A = TypeVar("A", bound=HasStatus)


async def insist(call: Callable[[], Awaitable[A]], what: str = "there is an answer") -> A:
    """Call again until the answer's status is none of `PASSING`; returns that answer."""

    async def answer() -> A | None:
        answered = await call()
        return None if answered.status in PASSING else answered

    return await wait_until(answer, what)
