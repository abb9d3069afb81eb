"""Leases of the relays: which relay carries which partition, in Redis beside the outbox.

A lease saves work; it is not what keeps the history right. A relay that was paused may go on for a
moment after another took over, and the events it sends again are copies, which the ledger
recognises by their numbers. It can no longer note its position, since `note` checks who leads.
Recovery takes the lead from every relay, so that the log's end stands still while it is compared
with the ledger.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, relay_key
from gateway.inventory.redis.outbox import START, position_of, stream_id
from lua.loader import LEASES, load_scripts

_SCRIPTS = load_scripts(LEASES)


def owner_name() -> str:
    """A readable name for one relay, unique even when a process id is used again."""
    return f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"


class Leases:
    """The leases of one relay; every method raises redis-py's errors."""

    def __init__(self, redis: Redis, length_milliseconds: int) -> None:
        """`length_milliseconds`: how long a relay that is gone blocks its partitions."""
        self._redis = redis
        self._length = length_milliseconds
        self.owner = owner_name()
        self._lease = self._script("lease")
        self._note = self._script("note")
        self._release = self._script("release")
        self._take_over = self._script("take_over")

    async def take(self, partitions: Iterable[PartitionId]) -> dict[PartitionId, Position]:
        """Take or renew the leases of `partitions`; returns those obtained, with positions."""
        wanted = sorted(partitions)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for partition in wanted:
                keys = [relay_key(partition), outbox_key(partition)]
                await self._lease(keys=keys, args=[self.owner, self._length], client=pipeline)
            replies = cast("list[list[bytes]]", await pipeline.execute())
        return {
            partition: position_of(reply[1]) if reply[1] else START
            for partition, reply in zip(wanted, replies, strict=True)
            if len(reply) > 1
        }

    async def take_over(self, partition: PartitionId) -> None:
        """Lead the partition, whoever led it before; without an outbox nothing happens."""
        keys = [relay_key(partition), outbox_key(partition)]
        await self._take_over(keys=keys, args=[self.owner, self._length])

    async def note(self, positions: Mapping[PartitionId, Position]) -> set[PartitionId]:
        """Note how far the log has each partition; returns partitions that another relay leads."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for partition, position in positions.items():
                await self._note(
                    keys=[relay_key(partition)],
                    args=[self.owner, stream_id(position)],
                    client=pipeline,
                )
            replies = await pipeline.execute()
        return {partition for partition, noted in zip(positions, replies, strict=True) if not noted}

    async def release(self, partitions: Iterable[PartitionId]) -> None:
        """Give up the leases, so that other relays can take them at once."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for partition in partitions:
                await self._release(keys=[relay_key(partition)], args=[self.owner], client=pipeline)
            await pipeline.execute()

    def _script(self, name: str) -> AsyncScript:
        return self._redis.register_script(_SCRIPTS[name].source)
