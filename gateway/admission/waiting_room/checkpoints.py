"""A room's progress in Postgres: the state that numbering resumes from after Redis lost it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from config.queries import Queries
from gateway.admission.waiting_room.draw import SEED_BYTES
from gateway.inventory.errors import Recovering
from gateway.process.postgres import LEDGER_FAULTS

QUERIES = Queries(Path(__file__).with_name("checkpoints.sql"))


class RoomRecord(msgspec.Struct, frozen=True):
    """The row of a room. `made`: the room was made in Redis; `drawn`: None before the draw."""

    seed: bytes
    made: bool
    issued: int
    serving: int
    lapsed: int
    drawn: int | None
    drawn_at: datetime | None
    mode: str
    rate_limit: int


class Checkpoints:
    """The rooms' rows; every method raises Recovering when Postgres does not answer."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout_seconds: float) -> None:
        """`pool` may still be unconnected."""
        self._pool = pool
        self._acquire_timeout_seconds = acquire_timeout_seconds

    async def read(self, sale_id: str) -> RoomRecord | None:
        """The room's record; None for a sale that never had a room."""
        async with self._connection() as connection:
            row = await connection.fetchrow(QUERIES["room"], sale_id)
        return None if row is None else _record(row)

    async def opening(
        self, sale_id: str, opens: Callable[[RoomRecord, list[str]], Awaitable[None]]
    ) -> RoomRecord:
        """Run `opens` with the room's record and its revoked buyers, to make the room in Redis;
        only one worker at a time does so. From then on the record has `made`. Raises Recovering for
        a settled sale, which gets no room again.
        """
        async with self._connection() as connection, connection.transaction():
            if await connection.fetchrow(QUERIES["hold_sale"], sale_id) is None:
                raise Recovering("the sale is settled, its waiting room is gone")
            await connection.execute(QUERIES["make_room"], sale_id, secrets.token_bytes(SEED_BYTES))
            record = _record(await connection.fetchrow(QUERIES["lock_room"], sale_id))
            revoked = [
                row["buyer_id"] for row in await connection.fetch(QUERIES["revoked"], sale_id)
            ]
            await opens(record, revoked)
            await connection.execute(QUERIES["note_made"], sale_id)
        return record

    async def write(self, sale_id: str, issued: int, serving: int, lapsed: int) -> None:
        """Write a checkpoint; numbers behind the last checkpoint change nothing."""
        async with self._connection() as connection:
            await connection.execute(QUERIES["checkpoint"], sale_id, issued, serving, lapsed)

    async def note_draw(self, sale_id: str, count: int) -> int:
        """Store `count` as the number of buyers in the draw; returns the first count stored."""
        async with self._connection() as connection:
            return int(await connection.fetchval(QUERIES["note_draw"], sale_id, count))

    async def note_control(self, sale_id: str, mode: str, rate_limit: int) -> None:
        """Store the mode and the rate limit that operators set."""
        async with self._connection() as connection:
            await connection.execute(QUERIES["note_control"], sale_id, mode, rate_limit)

    async def note_revoked(self, sale_id: str, buyer_id: str) -> None:
        """Store that a buyer is revoked."""
        async with self._connection() as connection:
            await connection.execute(QUERIES["note_revoked"], sale_id, buyer_id)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PoolConnectionProxy]:
        try:
            connection = await self._pool.acquire(timeout=self._acquire_timeout_seconds)
        except LEDGER_FAULTS as error:
            raise Recovering(f"the ledger cannot be reached: {error}") from error
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        except LEDGER_FAULTS as error:
            connection.terminate()
            raise Recovering(f"the ledger did not answer: {error}") from error
        finally:
            with suppress(*LEDGER_FAULTS):
                await self._pool.release(connection)


def _record(row: asyncpg.Record | None) -> RoomRecord:
    if row is None:
        raise Recovering("the room's record is missing")
    return RoomRecord(**dict(row))
