"""What an import reads of a partition in Redis. Nothing is written there."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec
from redis.asyncio import Redis

from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.types import ClosedEpoch

SENTINEL = b""
ADMISSION = 0  # key of the highest admission number in a buyer's array (lua/include/record.lua)
SCAN_COUNT = 1000

_closed_epochs = msgspec.msgpack.Decoder(tuple[ClosedEpoch, ...])
_adjustments = msgspec.msgpack.Decoder(tuple[str | int, ...])
_buyer = msgspec.msgpack.Decoder(tuple[int | str, ...])


@dataclass(frozen=True, slots=True)
class Memory:
    """What a partition remembers beside its counters and records.

    `adjustments`: flat `key:fingerprint`, sequence, ms (lua/partitions/include/adjustments.lua).
    """

    hold_ms: int
    closed_epochs: tuple[ClosedEpoch, ...]
    adjustments: tuple[str | int, ...]


async def read_memory(reader: Redis, partition: PartitionId) -> Memory:
    """Raises Recovering where the partition, or what it remembers, is damaged."""
    meta = partition_keys(partition)[0]
    hold_ms, closed, adjustments = cast(
        "list[bytes | None]",
        await reader.hmget(meta, ["hold_ms", "closed_epochs", "adjustments"]),
    )
    if hold_ms is None:
        raise Recovering(f"{partition}: meta is missing")
    try:
        return Memory(
            int(hold_ms),
            _closed_epochs.decode(closed) if closed else (),
            _adjustments.decode(adjustments) if adjustments else (),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise Recovering(f"{partition}: what it remembers is damaged: {error}") from error


async def scan_records(reader: Redis, partition: PartitionId) -> AsyncIterator[dict[str, bytes]]:
    """All records by token, some at a time; a token may come more than once.

    A record that is there from the beginning of the scan to its end comes at least once.
    """
    async for page in _scan(reader, partition_keys(partition)[2]):
        yield {token.decode(): raw for token, raw in page.items()}


async def scan_admissions(
    reader: Redis, partition: PartitionId
) -> AsyncIterator[list[tuple[str, int]]]:
    """Each buyer with the highest admission number spent, some at a time; unreadable buyers and
    those without a number are left out.
    """
    async for page in _scan(reader, partition_keys(partition)[3]):
        spent = ((buyer.decode(), _admission(raw)) for buyer, raw in page.items())
        yield [(buyer, number) for buyer, number in spent if number]


async def _scan(reader: Redis, key: bytes) -> AsyncIterator[Mapping[bytes, bytes]]:
    cursor = 0
    while True:
        cursor, found = cast(
            "tuple[int, dict[bytes, bytes]]",
            await reader.hscan(key, cursor=cursor, count=SCAN_COUNT),
        )
        found.pop(SENTINEL, None)
        if found:
            yield found
        if cursor == 0:
            return


def _admission(raw: bytes) -> int:
    try:
        fields = _buyer.decode(raw)
    except msgspec.DecodeError:
        return 0
    numbers = [number for number in fields if isinstance(number, int)]
    return dict(zip(numbers[::2], numbers[1::2], strict=False)).get(ADMISSION, 0)
