"""Records of a partition as they lie in Redis, together with their number.

Number and values are read in one MULTI, so that they belong together; this module writes nothing.
The arrays are those of lua/include/record.lua.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from redis.asyncio import Redis

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.types import StoredRecord, decode_record

SENTINEL = b""
# Keys of a buyer's numbers beside those of items, as in lua/include/record.lua.
ADMISSION, GIVEN_BACK, COOLS_UNTIL, UNPAID, UNPAID_WINDOW = 0, -1, -2, -3, -4
SCAN_COUNT = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """Some records, or buyers, of a partition at `position`; missing ones are left out.

    `unreadable`: tokens whose field is no reservation. `deadlines` by token, on the partition's
    clock; `numbers` by buyer: item → held + sold, ADMISSION → highest spent, GIVEN_BACK → how many,
    UNPAID → how many in the window of the number UNPAID_WINDOW; `buyers`: the same fields as they
    are stored. `unpaid_window_ms`: 0 where the partition counts no windows.
    """

    position: Position
    shift_ms: int
    records: Mapping[str, StoredRecord] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    deadlines: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    buyers: Mapping[str, bytes] = field(default_factory=dict)
    unpaid_window_ms: int = 0


_buyer = msgspec.msgpack.Decoder(tuple[int | str, ...])


@dataclass(frozen=True, slots=True)
class Stored:
    """Fields as they are stored, in the order they were asked for; None where there is none."""

    shift_ms: int
    records: Sequence[bytes | None]
    deadlines: Sequence[float | None]
    buyers: Sequence[bytes | None]


async def read_stored(
    reader: Redis, partition: PartitionId, tokens: Sequence[str], buyers: Sequence[str]
) -> Stored:
    """Records, deadlines and buyers in one step, undecoded; no list may be empty of both."""
    meta, _, records, known, deadlines, _ = partition_keys(partition)
    async with reader.pipeline(transaction=True) as pipeline:
        pipeline.hmget(meta, ["epoch", "sequence", "shift"])
        if tokens:
            pipeline.hmget(records, list(tokens))
            pipeline.zmscore(deadlines, list(tokens))
        if buyers:
            pipeline.hmget(known, list(buyers))
        numbers, *found = await pipeline.execute()
    _, shift_ms = _numbers(partition, numbers)
    fields, scores = (found[0], found[1]) if tokens else ((), ())
    return Stored(shift_ms, fields, scores, found[-1] if buyers else ())


async def read_records(reader: Redis, partition: PartitionId, tokens: Sequence[str]) -> Reading:
    """The records of these tokens and their entries among the deadlines."""
    meta, _, records, _, deadlines, _ = partition_keys(partition)
    async with reader.pipeline(transaction=True) as pipeline:
        pipeline.hmget(meta, ["epoch", "sequence", "shift"])
        pipeline.hmget(records, list(tokens))
        pipeline.zmscore(deadlines, list(tokens))
        numbers, found, scores = await pipeline.execute()
    position, shift_ms = _numbers(partition, numbers)
    stored = {token: raw for token, raw in zip(tokens, found, strict=True) if raw is not None}
    read = {token: decode_record(raw) for token, raw in stored.items()}
    return Reading(
        position,
        shift_ms,
        records={token: record for token, record in read.items() if record is not None},
        unreadable=frozenset(token for token, record in read.items() if record is None),
        deadlines={
            token: float(score)
            for token, score in zip(tokens, scores, strict=True)
            if score is not None
        },
    )


async def read_buyers(reader: Redis, partition: PartitionId, buyers: Sequence[str]) -> Reading:
    """What the partition remembers of these buyers."""
    meta, _, _, known, _, _ = partition_keys(partition)
    async with reader.pipeline(transaction=True) as pipeline:
        pipeline.hmget(meta, ["epoch", "sequence", "shift"])
        pipeline.hmget(known, list(buyers))
        pipeline.hget(meta, "catalog")
        numbers, found, catalog = await pipeline.execute()
    position, shift_ms = _numbers(partition, numbers)
    stored = {buyer: raw for buyer, raw in zip(buyers, found, strict=True) if raw}
    read = {buyer: numbers_of(raw) for buyer, raw in stored.items()}
    window_ms = _unpaid_window_ms(partition, catalog)
    return Reading(position, shift_ms, numbers=read, buyers=stored, unpaid_window_ms=window_ms)


async def read_unpaid_window_ms(reader: Redis, partition: PartitionId) -> int:
    """The length of the partition's windows of unpaid reservations; 0: it counts no windows."""
    meta, *_ = partition_keys(partition)
    catalog = cast("bytes | None", await reader.hget(meta, "catalog"))
    return _unpaid_window_ms(partition, catalog)


async def scan_tokens(reader: Redis, partition: PartitionId) -> AsyncIterator[list[str]]:
    """All tokens of the partition, some at a time; a token may come more than once."""
    _, _, records, _, _, _ = partition_keys(partition)
    cursor = 0
    while True:
        cursor, found = cast(
            "tuple[int, dict[bytes, bytes]]",
            await reader.hscan(records, cursor=cursor, count=SCAN_COUNT),
        )
        tokens = [token.decode() for token in found if token != SENTINEL]
        if tokens:
            yield tokens
        if cursor == 0:
            return


def numbers_of(raw: bytes) -> dict[int, int]:
    """A buyer is stored as {key, number, key, number, ..., token of an own hold, token, ...}.

    Unreadable bytes hold no numbers, here as for the scripts.
    """
    try:
        fields = _buyer.decode(raw)
    except msgspec.DecodeError:
        return {}
    numbers = [number for number in fields if isinstance(number, int)]
    by_key = dict(zip(numbers[::2], numbers[1::2], strict=False))
    by_key.pop(COOLS_UNTIL, None)  # the ledger has no such number
    return by_key


def _unpaid_window_ms(partition: PartitionId, catalog: bytes | None) -> int:
    """Of the rules in the catalogue (lua/include/items.lua); earlier releases had five of them."""
    if catalog is None:
        raise Recovering(f"{partition}: meta is missing")
    *_, rules = msgspec.msgpack.decode(catalog)
    return int(rules[5]) if len(rules) > 5 else 0


def _numbers(partition: PartitionId, values: Sequence[bytes | None]) -> tuple[Position, int]:
    epoch, sequence, shift = values
    if epoch is None or sequence is None or shift is None:
        raise Recovering(f"{partition}: meta is missing")
    return Position(int(epoch), int(sequence)), int(shift)
