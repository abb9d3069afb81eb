"""The tests' own PostgreSQL standby: in step or lagging, promoted, and reached as its primary was.

An asynchronous standby that lags loses rows, so the rig is known to be able to show a loss.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from tests.support.standby import PostgresPair, caught_up, postgres_pair
from tests.support.waiting import wait_until

ROWS_BEFORE = 20


@asynccontextmanager
async def _client(pair: PostgresPair) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pair.dsn_of("postgres"))
    try:
        yield connection
    finally:
        connection.terminate()


async def _numbers(pair: PostgresPair) -> set[int]:
    async with _client(pair) as client:
        return {number for (number,) in await client.fetch("SELECT number FROM numbers")}


async def test_a_lagging_standby_takes_over_without_what_it_had_not_received(
    up_folder: Path,
) -> None:
    async with postgres_pair(up_folder, synchronous=False) as pair:
        assert pair.follower is not None
        async with _client(pair) as client:
            await client.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
            await client.execute("INSERT INTO numbers VALUES (1)")
            await caught_up(pair.leader, pair.follower)
            pair.lag()
            await client.execute("INSERT INTO numbers VALUES (2)")
        await pair.fail_over()
        assert await _numbers(pair) == {1}
        async with _client(pair) as client:
            await client.execute("INSERT INTO numbers VALUES (3)")
        assert await _numbers(pair) == {1, 3}, "it takes writes at the address of its primary"


async def test_a_synchronous_standby_takes_over_with_every_answered_commit(
    up_folder: Path,
) -> None:
    answered: set[int] = set()

    async def write(client: asyncpg.Connection) -> None:
        number = 0
        while True:
            number += 1
            await client.execute("INSERT INTO numbers VALUES ($1)", number)
            answered.add(number)

    async with postgres_pair(up_folder, synchronous=True) as pair, _client(pair) as client:
        await client.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
        writing = asyncio.create_task(write(client))
        await wait_until(lambda: len(answered) >= ROWS_BEFORE, "rows are written")
        await pair.fail_over()
        (ended,) = await asyncio.gather(writing, return_exceptions=True)
        assert isinstance(ended, (OSError, asyncpg.PostgresError)), ended
        assert await _numbers(pair) >= answered


async def test_no_commit_is_answered_that_a_synchronous_standby_has_not_received(
    up_folder: Path,
) -> None:
    async with postgres_pair(up_folder, synchronous=True) as pair, _client(pair) as client:
        await client.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
        pair.lag()
        writing = asyncio.create_task(client.execute("INSERT INTO numbers VALUES (1)"))
        async with _client(pair) as other:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            await wait_until(lambda: other.fetchval(waiting), "the commit waits for the standby")
        await pair.fail_over()
        (ended,) = await asyncio.gather(writing, return_exceptions=True)
        assert isinstance(ended, (OSError, asyncpg.PostgresError)), ended
        assert await _numbers(pair) == set()
