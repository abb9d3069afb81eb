"""One partition as Redis has it, read without the scripts: keys, records and outbox entries.

The layout is the one documented in gateway/inventory/keys.py and lua/include/record.lua; this
module decodes it on its own, so that the verdict does not share the code it judges.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import msgspec
from redis.asyncio import Redis

PAGE_FIELDS = 1000
SENTINEL = b""
COUNTERS = ("loaded", "adjusted", "transferred", "in_transit", "available", "held", "sold")
STATES = {1: "held", 2: "confirmed", 3: "cancelled", 4: "expired"}


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A reservation as stored; `deadline` of a hold is on the partition's clock, lines are account
    pairs.
    """

    state: int
    epoch: int
    sequence: int
    accepted_epoch: int
    accepted_sequence: int
    deadline: int
    extended_ms: int
    buyer_id: str
    fingerprint: str
    lines: tuple[int, ...]
    payment_reference: str | None = None
    returned: tuple[int, ...] = ()
    return_keys: tuple[Any, ...] = ()
    extend_keys: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Buyer:
    """What is counted for a buyer: held + sold by item, the tokens of own active holds, and the
    highest admission number spent, 0 where none was.
    """

    counts: dict[int, int]
    holds: frozenset[str]
    admission: int = 0

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """From the stored {key, number, ..., token, ...}: pairs of integers, then the tokens."""
        stored = msgspec.msgpack.decode(packed, type=tuple[int | str, ...])
        numbers = [part for part in stored if isinstance(part, int)]
        by_key = dict(zip(numbers[::2], numbers[1::2], strict=True))
        return cls(
            {key: number for key, number in by_key.items() if key >= 1},
            frozenset(part for part in stored if isinstance(part, str)),
            by_key.get(0, 0),
        )


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a partition's history."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        """`epoch-sequence`, as in the outbox."""
        return f"{self.epoch}-{self.sequence}"


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a partition's history ends, and how many due holds wait for their release."""

    position: Position
    last_entry: str
    due_holds: int


@dataclass(frozen=True, slots=True)
class PartitionView:
    """Everything Redis knows of a partition at one position."""

    number: int
    position: Position
    last_entry: str
    state: str
    accounts: tuple[tuple[str, str, int], ...]  # (sku, location, item), numbered from 1
    counters: dict[tuple[str, str], dict[str, int]]
    totals: dict[str, int]  # stored `available` of each SKU with several locations
    records: dict[str, Record]  # by token
    buyers: dict[str, Buyer]
    deadlines: dict[str, int]  # token → on the partition's clock
    outbox: dict[str, bytes]  # entry id → BLAKE2b-64 of the event's bytes

    def units(self, lines: tuple[int, ...]) -> dict[tuple[str, str], int]:
        """Flat (account, quantity) pairs as units by (sku, location)."""
        found: dict[tuple[str, str], int] = {}
        for account, quantity in zip(lines[::2], lines[1::2], strict=True):
            sku, location, _item = self.accounts[account - 1]
            found[sku, location] = found.get((sku, location), 0) + quantity
        return found


class NotLoadedError(Exception):
    """A partition's keys, or some of them, are missing."""


def key(sale_id: str, number: int, name: str) -> str:
    """One of the partition's six keys."""
    return f"{{{sale_id}:{number}}}:{name}"


async def read_tail(redis: Redis, sale_id: str, number: int) -> Tail:
    """The tail, read in one step; raises NotLoadedError."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(key(sale_id, number, "meta"), ["epoch", "sequence", "shift"])
        pipe.xrevrange(key(sale_id, number, "outbox"), count=1)
        pipe.zrange(key(sale_id, number, "deadlines"), 0, 0, withscores=True)
        pipe.time()
        meta, last, first_due, time = await pipe.execute()
    if None in meta or not last or not first_due:
        raise NotLoadedError(f"partition {number} is not loaded in Redis")
    epoch, sequence, shift = (int(value) for value in meta)
    now = time[0] * 1000 + time[1] // 1000 - shift
    due = await redis.zcount(key(sale_id, number, "deadlines"), "-inf", now)
    return Tail(Position(epoch, sequence), last[0][0].decode(), due)


async def _counters(redis: Redis, sale_id: str, number: int) -> dict[tuple[str, str], Any]:
    counters: dict[tuple[str, str], dict[str, int]] = {}
    stock: Any = await redis.hgetall(key(sale_id, number, "stock"))
    for field, value in stock.items():
        if field != SENTINEL:
            sku, location, name = field.decode().rsplit(":", 2)
            counters.setdefault((sku, location), {})[name] = int(value)
    for account, values in counters.items():
        if set(values) != set(COUNTERS):
            raise NotLoadedError(f"partition {number}: counters of {account} are missing")
    return counters


def _accounts(meta: dict[bytes, bytes]) -> tuple[tuple[str, str, int], ...]:
    """SKU, location and item of each account, in the order of their numbers."""
    numbered: dict[int, tuple[str, str, int]] = {}
    for field, packed in meta.items():
        if field.startswith(b"item:"):
            item = int(field.removeprefix(b"item:"))
            sku, *_, first, locations = msgspec.msgpack.decode(packed)
            for account, location in enumerate(locations, start=first):
                numbered[account] = (sku, location, item)
    return tuple(numbered[account] for account in sorted(numbered))


def _totals(meta: dict[bytes, bytes]) -> dict[str, int]:
    """The stored sum of `available` of each SKU that has one, by SKU."""
    found: dict[str, int] = {}
    for field, value in meta.items():
        if field.startswith(b"available:"):
            number = field.removeprefix(b"available:")
            found[msgspec.msgpack.decode(meta[b"item:" + number])[0]] = int(value)
    return found


async def _hash(redis: Redis, name: str) -> dict[bytes, bytes]:
    """All fields of a large hash, in pages; a field that SCAN shows twice counts once."""
    pages: Any = redis.hscan_iter(name, count=PAGE_FIELDS)
    return {field: value async for field, value in pages if field != SENTINEL}


async def _outbox(redis: Redis, name: str) -> AsyncIterator[tuple[str, bytes]]:
    start = "-"
    while True:
        entries: Any = await redis.xrange(name, min=start, count=PAGE_FIELDS)
        for entry_id, fields in entries:
            yield entry_id.decode(), blake2b(fields[b"event"], digest_size=8).digest()
        if len(entries) < PAGE_FIELDS:
            return
        start = "(" + entries[-1][0].decode()


async def read_partition(redis: Redis, sale_id: str, number: int) -> PartitionView | None:
    """The whole partition, or None where it moved while it was read; raises NotLoadedError."""
    before = await read_tail(redis, sale_id, number)
    meta = await _hash(redis, key(sale_id, number, "meta"))
    counters, records, buyers, scores = await asyncio.gather(
        _counters(redis, sale_id, number),
        _hash(redis, key(sale_id, number, "reservations")),
        _hash(redis, key(sale_id, number, "buyers")),
        redis.zrange(key(sale_id, number, "deadlines"), 0, -1, withscores=True),
    )
    outbox = {
        entry: print_ async for entry, print_ in _outbox(redis, key(sale_id, number, "outbox"))
    }
    after = await read_tail(redis, sale_id, number)
    if b"state" not in meta or b"catalog" not in meta:
        raise NotLoadedError(f"partition {number} lost its meta")
    if before.position != after.position:
        return None
    return PartitionView(
        number=number,
        position=after.position,
        last_entry=after.last_entry,
        state=meta[b"state"].decode(),
        accounts=_accounts(meta),
        counters=counters,
        totals=_totals(meta),
        records={f.decode(): msgspec.msgpack.decode(v, type=Record) for f, v in records.items()},
        buyers={f.decode(): Buyer.unpack(v) for f, v in buyers.items()},
        deadlines={token.decode(): int(at) for token, at in scores if token != SENTINEL},
        outbox=outbox,
    )
