"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

from config.waiting import poll_until

T = TypeVar("T")

POLL_SECONDS = 0.02
# How long tests wait for anything before they fail: a bound and not an expectation, so it is more
# than the busiest machine takes.
WAIT_SECONDS = 180.0


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T | None]], what: str = "", *, timeout_seconds: float = ...
) -> T: ...
@overload
async def wait_until(
    condition: Callable[[], T | None], what: str = "", *, timeout_seconds: float = ...
) -> T: ...
async def wait_until(
    condition: Callable[[], T | Awaitable[T | None] | None],
    what: str = "",
    *,
    timeout_seconds: float = WAIT_SECONDS,
) -> T:
    """Poll `condition` (plain or async) until its value is truthy; returns that value.

    Fails the test, saying `what` it waited for, after `timeout_seconds`.
    """
    value: T | None = None

    async def holds() -> bool:
        nonlocal value
        result = condition()
        value = await result if isinstance(result, Awaitable) else result
        return bool(value)

    if await poll_until(holds, timeout_seconds, first_seconds=POLL_SECONDS) and value is not None:
        return value
    raise _not_in_time(condition, value, what, timeout_seconds)


def wait_until_blocking(
    condition: Callable[[], T | None], what: str = "", *, timeout_seconds: float = WAIT_SECONDS
) -> T:
    """As `wait_until`, for tests without an event loop."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise _not_in_time(condition, value, what, timeout_seconds)
        time.sleep(POLL_SECONDS)


def _not_in_time(
    condition: Callable[[], object], last: object, what: str, timeout_seconds: float
) -> AssertionError:
    name = what or getattr(condition, "__name__", "the condition")
    return AssertionError(f"{name} did not hold within {timeout_seconds} s (last value: {last!r})")
