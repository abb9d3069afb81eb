"""A reading that is shared is never older than it says, nor than the last change."""

import asyncio

import pytest

from reconciler.keeping.shared import Shared
from tests.support.waiting import wait_until

AN_HOUR_SECONDS = 3600.0


class Source:
    """Numbers, one higher at each reading; a reading waits for `go_on`."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fails = False

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go_on.wait()
        if self.fails:
            raise OSError("away")
        return number


async def test_who_asks_at_the_same_time_gets_one_reading() -> None:
    source = Source()
    shared = Shared(source.read, AN_HOUR_SECONDS)
    assert await asyncio.gather(*(shared.get() for _ in range(5))) == [1] * 5
    assert await shared.get() == 1


async def test_an_old_reading_is_made_again() -> None:
    source = Source()
    shared = Shared(source.read, 0.0)
    assert [await shared.get(), await shared.get()] == [1, 2]


async def test_a_change_while_a_reading_goes_on_is_in_the_next_answer() -> None:
    source = Source()
    source.go_on.clear()
    shared = Shared(source.read, AN_HOUR_SECONDS)
    before = asyncio.ensure_future(shared.get())
    await wait_until(lambda: source.begun == 1)
    shared.outdate()
    after = asyncio.ensure_future(shared.get())
    source.go_on.set()
    assert (await before, await after) == (1, 2)
    assert await shared.get() == 2


async def test_a_failed_reading_is_nobodys_answer() -> None:
    source = Source()
    source.fails = True
    shared = Shared(source.read, AN_HOUR_SECONDS)
    with pytest.raises(OSError, match="away"):
        await shared.get()
    source.fails = False
    assert await shared.get() == 2
