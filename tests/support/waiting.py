"""Waiting for a condition instead of for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

POLL_SECONDS = 0.02


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]], timeout_seconds: float, what: str = ""
) -> T: ...
@overload
async def wait_until(condition: Callable[[], T], timeout_seconds: float, what: str = "") -> T: ...
async def wait_until(
    condition: Callable[[], T | Awaitable[T]], timeout_seconds: float, what: str = ""
) -> T:
    """Poll `condition` (plain or async) until it is truthy and return its value.

    Fails the test after `timeout_seconds`, a bound and not an expectation: choose it generously.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = condition()
        value = await result if isinstance(result, Awaitable) else result
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(
                f"{name} did not hold within {timeout_seconds} s (last value: {value!r})"
            )
        await asyncio.sleep(POLL_SECONDS)


def wait_until_blocking(condition: Callable[[], T], timeout_seconds: float, what: str = "") -> T:
    """As `wait_until`, for tests without an event loop."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(
                f"{name} did not hold within {timeout_seconds} s (last value: {value!r})"
            )
        time.sleep(POLL_SECONDS)
