"""Duty: report the ledger's watermark to each partition, and drop the events the ledger has.

The partition's bound on events beyond the ledger counts from the last report, so reports must be
prompt. Nothing else trims an outbox. While Kafka is away the ledger goes on from the outboxes;
events that Kafka lacks stay for the relay, `event_log.kept_events` at most. Events that the sale's
waiting room has not read stay, too, or the slots of buyers who have reserved would lapse first.
"""

import time
from dataclasses import dataclass
from typing import ClassVar, cast

import structlog

from gateway.admission.waiting_room.outboxes import read_cursor
from gateway.inventory.events import Position
from gateway.inventory.keys import relay_key
from gateway.inventory.redis.outbox import START, position_of, stream_id
from reconciler.context import Context
from reconciler.duties.directory import LivePartition, read_partitions
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import for_each

# An unchanged watermark is reported again after this: the partition may have been restored.
REPEAT_SECONDS = 10.0
# A room further behind than this keeps no events: its slots return when they lapse.
ROOM_EVENTS_MAX = 100_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrimConfig:
    """`interval_seconds`: pause between looks at the watermarks."""

    interval_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a pause that would let a healthy outbox fill."""
        if not 0 < self.interval_seconds <= 10:
            raise ValueError("trim interval must be at most 10 s")


@dataclass(frozen=True, slots=True)
class _Report:
    watermark: Position
    at: float


class Trim:
    """Reports watermarks and trims outboxes."""

    name: ClassVar[str] = "trim"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 15.0

    def __init__(self, context: Context, config: TrimConfig) -> None:
        self._context = context
        self._config = config
        self._reports: dict[str, _Report] = {}
        self._notices = Notices()
        self.trimmed_events = 0

    async def run_once(self) -> float:
        """Every partition whose watermark has moved."""
        partitions = await read_partitions(self._context.ledger)
        await for_each(partitions, self.trim, self._notices, "trim_waits")
        return self._config.interval_seconds

    async def trim(self, live: LivePartition) -> None:
        """Report to one partition, and trim it; an unchanged watermark every REPEAT_SECONDS.

        A partition whose epoch the ledger has not begun yet is left for later.
        """
        last, now = self._reports.get(str(live)), time.monotonic()
        if last and last.watermark == live.watermark and now - last.at < REPEAT_SECONDS:
            return
        kept = await needed(self._context, live)
        reply = await self._context.store.trim(live.partition, live.watermark, kept)
        self.trimmed_events += reply.trimmed
        self._reports[str(live)] = _Report(live.watermark, now)


async def needed(context: Context, live: LivePartition) -> Position:
    """The position up to which nobody needs the outbox: the ledger, a relay, a waiting room."""
    watermark = live.watermark
    read = await read_cursor(context.reader, live.partition)
    kept = watermark if read is None else min(watermark, _within(read, watermark, ROOM_EVENTS_MAX))
    if context.event_log.kind != "kafka":
        return kept
    noted = cast("bytes | None", await context.reader.hget(relay_key(live.partition), "position"))
    sent = START if noted is None else position_of(noted)
    least = _within(sent, watermark, context.event_log.kept_events)
    if sent < least:
        lacking = f"{stream_id(sent).decode()} to {stream_id(least).decode()}"
        _log.warning("log_lacks_events", partition=str(live), lacking=lacking)
    return min(kept, least)


def _within(position: Position, watermark: Position, most: int) -> Position:
    """The position, or `most` events below the watermark where that is nearer."""
    if watermark.sequence <= most:
        return position
    return max(position, Position(watermark.epoch, watermark.sequence - most))
