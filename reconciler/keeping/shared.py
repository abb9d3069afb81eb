"""A reading that several duties use: made once for all of them, and not once by each."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Shared(Generic[Value]):
    """The newest reading, where it is young enough; else `get` makes another, one at a time."""

    def __init__(self, read: Callable[[], Awaitable[Value]], age_max_seconds: float) -> None:
        self._read = read
        self._age_max_seconds = age_max_seconds
        self._reading = asyncio.Lock()
        self._value: list[Value] = []
        self._began_at = -math.inf

    def outdate(self) -> None:
        """Something has changed: whoever asks from now on gets a reading that begins later."""
        self._began_at = -math.inf

    async def get(self) -> Value:
        """A reading that began at most `age_max_seconds` ago. Raises what `read` raises."""
        async with self._reading:
            if time.monotonic() - self._began_at >= self._age_max_seconds:
                self._began_at = time.monotonic()
                try:
                    self._value = [await self._read()]
                except BaseException:
                    self.outdate()
                    raise
            return self._value[0]
