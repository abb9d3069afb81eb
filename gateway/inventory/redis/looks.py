"""A look at many partitions at once: whether each is whole, whom it trusts, and where it is.

Plain reads that go out together cost Redis and its caller a tenth of a snapshot, so they can be
repeated every second for every partition that there is. A look finds a key that is missing or of
another type, and shows how many fields a partition's hashes have; a value that is no number, and a
sentinel that is gone, need a snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import hiredis

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.redis.pool import ScriptPool

# Partitions in one round trip: it holds up other calls for less than a millisecond.
PARTITIONS_EACH = 100

_META_FIELDS = (b"run_id", b"state", b"epoch", b"sequence")
_SIZES = (b"HLEN", b"HLEN", b"HLEN", b"HLEN", b"ZCARD", b"XLEN")  # of the keys, in their order
_REPLIES_EACH = 1 + len(_SIZES)


def _packed(*words: bytes) -> bytes:
    packed: bytes = hiredis.pack_command(cast("tuple[bytes]", words))
    return packed


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look has shown of a partition that has all its keys.

    `run_id` is the run that the partition trusts, `server_run_id` the run that was asked; `read_at`
    is on the server's clock, in ms. `shape`: how many fields the meta and the stock have. `holds`:
    whether there are active holds.
    """

    position: Position
    state: str
    run_id: str
    server_run_id: str
    read_at: int
    shape: tuple[int, int]
    holds: bool


async def look(pool: ScriptPool, partitions: Sequence[PartitionId]) -> list[Sight | None]:
    """A sight of each partition; None where a key is missing or has another type.

    The reads of one partition are not one step: its position may be older than its sizes. Raises
    the errors of `ScriptPool.read`.
    """
    sights: list[Sight | None] = []
    time_now = _packed(b"TIME")
    for first in range(0, len(partitions), PARTITIONS_EACH):
        part = partitions[first : first + PARTITIONS_EACH]
        commands = time_now + b"".join(_reads_of(partition) for partition in part)
        run_id, replies = await pool.read(commands, 1 + _REPLIES_EACH * len(part))
        read_at = _milliseconds(replies[0])
        sights += [
            _sight(replies[at : at + _REPLIES_EACH], run_id, read_at)
            for at in range(1, len(replies), _REPLIES_EACH)
        ]
    return sights


@lru_cache(maxsize=16_384)
def _reads_of(partition: PartitionId) -> bytes:
    """The reads in the protocol's bytes: they never change."""
    keys = partition_keys(partition)
    sizes = (_packed(size, key) for size, key in zip(_SIZES, keys, strict=True))
    return b"".join((_packed(b"HMGET", keys[0], *_META_FIELDS), *sizes))


def _milliseconds(reply: object) -> int:
    if not isinstance(reply, list):
        raise Recovering(f"Redis does not tell the time: {reply!r}")
    seconds, microseconds = (int(part) for part in reply)
    return seconds * 1000 + microseconds // 1000


def _sight(replies: list[object], server_run_id: str, read_at: int) -> Sight | None:
    facts = replies[0]
    sizes = [size for size in replies[1:] if isinstance(size, int) and size > 0]
    if len(sizes) < len(_SIZES) or not isinstance(facts, list) or None in facts:
        return None
    run_id, state, epoch, sequence = (bytes(fact) for fact in facts)
    if not (epoch.isdigit() and sequence.isdigit()):
        return None
    return Sight(
        position=Position(int(epoch), int(sequence)),
        state=state.decode(),
        run_id=run_id.decode(),
        server_run_id=server_run_id,
        read_at=read_at,
        shape=(sizes[0], sizes[1]),
        holds=sizes[4] > 1,  # beside the sentinel
    )
