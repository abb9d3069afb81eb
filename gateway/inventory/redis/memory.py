"""What a partition remembers of the ledger: how far it was, and which epochs it has closed.

A ledger that has less has come back older: from a backup, or as a standby that lagged. The fields
of `meta` are written in lua/partitions: `trim` (how far), `recover` and `restore` (closed epochs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.redis.outbox import START
from gateway.inventory.types import ClosedEpoch

# Of a partition's `meta`, in the order that `memory_of` takes them.
MEMORY_FIELDS = ("epoch", "ledger_sequence", "closed_epochs")

_decode_closed = msgspec.msgpack.Decoder(tuple[ClosedEpoch, ...]).decode


@dataclass(frozen=True, slots=True)
class Memory:
    """`known`: how far the ledger has been; `closed`: the epochs that it closed, oldest first."""

    known: Position = START
    closed: tuple[ClosedEpoch, ...] = ()

    def lacking(self, applied: Position) -> int:
        """How many events a ledger at `applied` lacks of those that it once had.

        Epochs of which the partition remembers no end are not counted.
        """
        known = self.known
        if applied >= known:
            return 0
        if applied.epoch == known.epoch:
            return known.sequence - applied.sequence
        ends = {closing.epoch: closing.last_sequence for closing in self.closed}
        ends[known.epoch] = known.sequence
        whole = sum(end for epoch, end in ends.items() if applied.epoch < epoch <= known.epoch)
        return whole + max(ends.get(applied.epoch, applied.sequence) - applied.sequence, 0)


def memory_of(fields: Sequence[object]) -> Memory:
    """The memory in the values of MEMORY_FIELDS; empty where a field is damaged."""
    epoch, ledger_sequence, closed_epochs = cast("Sequence[bytes | None]", fields)
    try:
        closed = _decode_closed(closed_epochs) if closed_epochs else ()
        known = Position(int(epoch or 0), int(ledger_sequence or 0))
    except (ValueError, msgspec.DecodeError):
        return Memory()
    if known.sequence == 0:  # of this epoch the ledger has told nothing yet
        known = Position(closed[-1].epoch, closed[-1].last_sequence) if closed else START
    return Memory(known, closed)


async def read_memory(reader: Redis, partition: PartitionId) -> Memory:
    """The partition's memory; empty where its `meta` is missing or has another type."""
    try:
        return memory_of(await reader.hmget(partition_keys(partition)[0], list(MEMORY_FIELDS)))
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        return Memory()
