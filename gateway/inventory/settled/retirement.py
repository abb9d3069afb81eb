"""Removes a settled sale's keys from Redis; anybody may finish what another process began.

A partition's keys go only if nothing has happened in it since the ledger was compared. Where
something has, the settlement is taken back, as long as no partition is gone yet.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import redis.asyncio as redis_py
from redis.exceptions import RedisError, WatchError

from config.queries import Queries
from config.settings import RedisSettings
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import (
    LEDGER_KEY,
    PartitionId,
    partition_keys,
    relay_key,
    sync_key,
)
from gateway.inventory.opening import LedgerConnection
from gateway.inventory.redis.primary import following_pool
from gateway.process.ledger_identity import LedgerIdentity, identity_of

QUERIES = Queries(Path(__file__).with_name("retirement.sql"))
KEYS_CONNECTIONS = 4
UNLINK_KEYS = 1000


class _Moved(Exception):
    """The partition has events after the ledger's watermark."""


async def retire(
    connection: LedgerConnection,
    client: redis_py.Redis,
    sale_id: str,
    room_keys: Callable[[str], Sequence[bytes]],
) -> Literal["removed", "taken_back", "not_settled"]:
    """Remove the keys, and those of its waiting room, in a transaction of the caller's.

    "removed": the settlement is final. "taken_back": an event came in between, the sale is closed
    again; the caller adds the audit row. Raises Recovering when keys could not be removed, or when
    another ledger than the connection's counts; the next call goes on.
    """
    ledger = identity_of(connection)
    settlement = await connection.fetchrow(QUERIES["lock_settlement"], sale_id)
    if settlement is None:
        return "not_settled"
    places = [
        (PartitionId(sale_id, row["partition"]), Position(row["epoch"], row["sequence"]))
        for row in await connection.fetch(QUERIES["positions_of_sale"], sale_id)
    ]
    gone = 0
    try:
        # All are looked at first: a sale that is half gone can neither be settled nor taken back.
        for unlinks in (False, True):
            for partition, applied in places:
                is_there = await _is_there(client, partition, applied, ledger, unlinks=unlinks)
                if not is_there or unlinks:
                    gone += 1
        if settlement["has_room"]:
            await _unlink(client, room_keys(sale_id))
    except _Moved as error:
        if gone:
            raise Recovering(f"{error} has moved while its sale was being settled") from error
        await connection.execute(QUERIES["unsettle_sale"], sale_id)
        return "taken_back"
    except RedisError as error:
        raise Recovering(f"the keys of {sale_id} are not removed yet: {error}") from error
    await connection.execute(QUERIES["note_removal"], sale_id)
    return "removed"


async def _is_there(
    client: redis_py.Redis,
    partition: PartitionId,
    applied: Position,
    ledger: LedgerIdentity | None,
    *,
    unlinks: bool,
) -> bool:
    """Whether the partition had keys, which are gone now with `unlinks`. Raises _Moved."""
    keys = partition_keys(partition)
    async with client.pipeline(transaction=True) as pipeline:
        # Every script that changes a partition writes its meta, so WATCH sees any change.
        await pipeline.watch(keys[0], LEDGER_KEY)
        counts = await pipeline.get(LEDGER_KEY)
        if ledger is not None and counts != str(ledger).encode():
            raise Recovering(f"{partition}: the ledger {ledger} does not count")
        epoch, sequence = await pipeline.hmget(keys[0], ["epoch", "sequence"])
        if epoch is None:
            return False
        if Position(int(epoch), int(sequence or 0)) != applied:
            raise _Moved(str(partition))
        if unlinks:
            pipeline.multi()  # type: ignore[no-untyped-call]
            pipeline.unlink(*keys, sync_key(keys), relay_key(partition))
            try:
                await pipeline.execute()
            except WatchError as error:
                raise _Moved(str(partition)) from error
    return True


async def _unlink(client: redis_py.Redis, keys: Sequence[bytes]) -> None:
    """Remove the keys, at most UNLINK_KEYS per command."""
    for start in range(0, len(keys), UNLINK_KEYS):
        await client.unlink(*keys[start : start + UNLINK_KEYS])


def keys_client(settings: RedisSettings) -> redis_py.Redis:
    """A client for keys that no script touches: bounded waits, no retries."""
    return redis_py.Redis.from_pool(following_pool(settings, KEYS_CONNECTIONS))
