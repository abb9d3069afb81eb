"""Books of the reference designs that keep their stock in Redis, and how they are counted.

Keys: `bench:stock` (string), `bench:keys` (hash: buyer and key → reservation id), `bench:owned`
(hash: buyer → units), `bench:records` (hash: reservation id → record), `bench:deadlines` (sorted
set), `bench:outbox` (stream): the kinds of records that dropgate writes for a reservation.
"""

import secrets
import time

import msgspec
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from loadtest.bench.designs.design import HOLD_SECONDS, MOST_AT_ONCE, Audit
from loadtest.bench.sale import SKU

STOCK, KEYS, OWNED = "bench:stock", "bench:keys", "bench:owned"
RECORDS, DEADLINES, OUTBOX = "bench:records", "bench:deadlines", "bench:outbox"
MOST_CONNECTIONS = 2 * MOST_AT_ONCE  # redis-py opens a connection when a request needs it
TIMEOUT_SECONDS = 5.0


class Record(msgspec.Struct, frozen=True):
    """One reservation as these designs keep it."""

    reservation_id: str
    buyer_id: str
    key: str
    sku: str
    quantity: int
    deadline: int


_record_encoder = msgspec.json.Encoder()
_record_decoder = msgspec.json.Decoder(Record)


def connect(url: str) -> Redis:
    """A redis-py client as its documentation advises for a hot path: RESP2, hiredis, no retries."""
    pool = ConnectionPool.from_url(
        url,
        protocol=2,
        max_connections=MOST_CONNECTIONS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)


def new_record(buyer_id: str, key: str, quantity: int, reservation_id: str | None = None) -> Record:
    """A record with a random id, unless one is given."""
    deadline = int(time.time() * 1000) + HOLD_SECONDS * 1000
    own = reservation_id or secrets.token_urlsafe(16)
    return Record(own, buyer_id, key, SKU, quantity, deadline)


def add_record(commands: Redis, record: Record) -> None:
    """Queue the writes of an accepted reservation on a pipeline."""
    raw = _record_encoder.encode(record)
    commands.hset(RECORDS, record.reservation_id, raw)
    commands.zadd(DEADLINES, {record.reservation_id: record.deadline})
    commands.xadd(OUTBOX, {"event": raw})


def text(value: bytes | str | None) -> str:
    """A reply as text; empty for no reply."""
    return value.decode() if isinstance(value, bytes) else value or ""


def key_field(buyer_id: str, key: str) -> str:
    """The field of `bench:keys`."""
    return f"{buyer_id} {key}"


async def reset(redis: Redis, stock: int) -> None:
    """Drop all keys and load the stock."""
    await redis.unlink(STOCK, KEYS, OWNED, RECORDS, DEADLINES, OUTBOX)
    await redis.set(STOCK, stock)


async def audit(redis: Redis) -> Audit:
    """Count the books; small runs only, since every record is read."""
    records = [_record_decoder.decode(raw) for raw in await redis.hvals(RECORDS)]
    return Audit(
        remaining=int(await redis.get(STOCK) or 0),
        promised=sum(record.quantity for record in records),
        reservations=len(records),
        distinct_keys=len({(record.buyer_id, record.key) for record in records}),
    )
