"""Reading a partition's outbox, and the server's run id, with redis-py.

Nothing here writes, so a lost reply costs only a repeated read. Clients do not retry on their own:
callers decide what a lost connection means to them.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from config.settings import RedisSettings
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.redis.primary import following_pool

START = Position(0, 0)
EVENT_FIELD = b"event"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One event in the stream: its position from the entry's id, and its bytes unchanged."""

    position: Position
    raw: bytes


def fingerprint_of(raw: bytes) -> bytes:
    """BLAKE2b-64 of an event's bytes, which the ledger keeps to tell two histories apart."""
    return blake2b(raw, digest_size=8).digest()


def create_reader(settings: RedisSettings, *, connections: int = 4) -> Redis:
    """A client of at most `connections` connections with bounded waits; it connects at its first
    use.

    A blocking read must block for less than `settings.socket_timeout_seconds`.
    """
    return Redis.from_pool(following_pool(settings, connections))


def position_of(entry_id: bytes) -> Position:
    """The position in a stream id. Raises ValueError for any other text."""
    epoch, _, sequence = entry_id.partition(b"-")
    return Position(int(epoch), int(sequence))


def stream_id(position: Position) -> bytes:
    """The stream id of a position."""
    return b"%d-%d" % (position.epoch, position.sequence)


def entries_of(rows: object) -> list[OutboxEntry]:
    """Entries from redis-py's stream rows; an entry without the event field has empty bytes."""
    typed = cast("list[tuple[bytes, dict[bytes, bytes]]]", rows)  # redis-py types every protocol
    return [OutboxEntry(position_of(row[0]), row[1].get(EVENT_FIELD, b"")) for row in typed]


async def read_outbox(
    reader: Redis, partition: PartitionId, after: Position, most: int
) -> list[OutboxEntry]:
    """At most `most` entries after position `after`, in order."""
    rows = await reader.xrange(
        outbox_key(partition), min=b"(" + stream_id(after), max=b"+", count=most
    )
    return entries_of(rows)


async def read_tail(reader: Redis, partition: PartitionId) -> OutboxEntry | None:
    """The last entry; None without a stream (the key may have another type) or without entries."""
    try:
        entries = entries_of(await reader.xrevrange(outbox_key(partition), count=1))
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        return None
    return entries[0] if entries else None


async def read_run_id(reader: Redis) -> str:
    """The run id of the server that answers. Raises Recovering."""
    server = await reader.info("server")
    run_id = server.get("run_id")
    if not isinstance(run_id, str):
        raise Recovering("Redis does not report its run id")
    return run_id
