"""The event log as the writer sees it, Kafka or the outbox.

Delivery is at least once and usually in order; the ledger's own numbers do the rest. A log hands
out bounded batches, commits them once they are safe in the ledger, and reads older events again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId

_POSITION = re.compile(rb"([1-9]\d{0,9})-([1-9]\d{0,15})")
_LARGEST_EPOCH = 2_147_483_647
_LARGEST_SEQUENCE = 9_007_199_254_740_991


class LogOffset(msgspec.Struct, frozen=True, gc=False):
    """Where a log keeps an event: `place` names a topic's partition, `number` counts in it."""

    place: str
    number: int


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One copy of an event as a log delivered it; the number is the log's, not the JSON's.

    `traceparent`: of the span that put the copy there, where it is known.
    """

    partition: PartitionId
    position: Position
    raw: bytes
    offset: LogOffset | None = None
    traceparent: bytes | None = None


class Foreign(msgspec.Struct, frozen=True, gc=False):
    """Something in the log without a valid number; `source` says where it was found."""

    source: str
    error: str
    raw: bytes


class Batch(msgspec.Struct, frozen=True):
    """The result of one fetch."""

    entries: list[LogEntry]
    foreign: list[Foreign]


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far the ledger has applied a partition; `offsets` is where its log was then."""

    partition: PartitionId
    position: Position
    offsets: tuple[LogOffset, ...] = ()
    fingerprint: bytes | None = None
    stopped_reason: str | None = None


class EventLog(Protocol):
    """Where events come from."""

    @property
    def patience_seconds(self) -> float:
        """How long an event may be in the outbox before this log is taken to have missed it."""

    def follow(self, marks: Sequence[Watermark]) -> None:
        """Read these partitions and no others; a new partition from its watermark on."""

    async def fetch(self, most_entries: int, wait_seconds: float) -> Batch:
        """At most `most_entries`, waiting at most `wait_seconds` for the first."""

    async def commit(self) -> None:
        """Commit all that was fetched. May fail silently: redelivery is harmless."""

    def rewind(self, run: str, marks: Sequence[Watermark], newest: Mapping[str, int]) -> None:
        """From the next fetch on, read from where this run of the ledger is: it may have less than
        has been read already. `newest`: the last offset that any watermark has, for each place.
        """

    async def refetch(self, mark: Watermark, most_entries: int) -> list[LogEntry]:
        """Events beyond the watermark from the log's own past; empty where it has none."""

    async def close(self) -> None:
        """Give everything back within a bounded time; may be called twice."""


def format_position(position: Position) -> str:
    """`epoch-sequence`."""
    return f"{position.epoch}-{position.sequence}"


def parse_position(epoch_sequence: bytes) -> Position | None:
    """A position from `epoch-sequence`; None for a number that the scripts cannot have given."""
    match = _POSITION.fullmatch(epoch_sequence)
    if match is None:
        return None
    epoch, sequence = int(match[1]), int(match[2])
    if epoch > _LARGEST_EPOCH or sequence > _LARGEST_SEQUENCE:
        return None
    return Position(epoch, sequence)
