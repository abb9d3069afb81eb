"""Duty: report the ledger's watermark to each partition, and drop the events the ledger has.

The partition's bound on events beyond the ledger counts from the last report, so reports must be
prompt. Nothing else trims an outbox. While Kafka is away the ledger goes on from the outboxes;
events that Kafka lacks stay for the relay, `event_log.kept_events` at most. Events that the sale's
waiting room has not read stay, too, or the slots of buyers who have reserved would lapse first.

All events stay for `inventory.outbox_keep_seconds` after the ledger was seen to have them: a ledger
that comes back older takes them from there. The partition remembers the highest watermark it was
given, and drops nothing for a ledger that has less.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, cast

import structlog

from gateway.admission.waiting_room.outboxes import read_cursor
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, relay_key
from gateway.inventory.redis.outbox import START, position_of, stream_id
from reconciler.context import Context
from reconciler.duties.directory import Directory, LivePartition
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import for_each

# An unchanged watermark is reported again after this, while there are events that may be dropped
# later; and after REPEAT_DONE_SECONDS once all events are dropped that the ledger has.
REPEAT_SECONDS = 10.0
REPEAT_DONE_SECONDS = 60.0
# A room further behind than this keeps no events: its slots return when they lapse.
ROOM_EVENTS_MAX = 100_000
# Watermarks that are remembered of the time that events are kept: events stay longer by that part.
MARKS_KEPT = 60

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrimConfig:
    """`interval_seconds`: pause between looks at the watermarks. Events stay for `keep_seconds`
    after the ledger was seen to have them, at most `keep_events` of a partition.
    """

    interval_seconds: float = 1.0
    keep_seconds: float = 0.0
    keep_events: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a pause that would let a healthy outbox fill."""
        if not 0 < self.interval_seconds <= 10:
            raise ValueError("trim interval must be at most 10 s")


@dataclass(slots=True)
class _Reports:
    """What was reported to a partition. `done`: nothing is left to drop below the watermark. `had`:
    watermarks with the instants they were first seen at, oldest first.
    """

    watermark: Position = START
    at: float = 0.0
    done: bool = False
    had: deque[tuple[float, Position]] = field(default_factory=deque)

    def had_before(self, watermark: Position, now: float, keep_seconds: float) -> Position:
        """The position that the ledger has had for `keep_seconds`; it is at `watermark` now."""
        had = self.had
        if had and had[-1][1] > watermark:
            had.clear()  # the ledger came back older: what it had before, it has no more
        if not had or now - had[-1][0] >= keep_seconds / MARKS_KEPT:
            had.append((now, watermark))
        while len(had) > 1 and had[1][0] <= now - keep_seconds:
            had.popleft()
        at, position = had[0]
        return position if at <= now - keep_seconds else START


class Trim:
    """Reports watermarks and trims outboxes."""

    name: ClassVar[str] = "trim"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 15.0

    def __init__(self, context: Context, directory: Directory, config: TrimConfig) -> None:
        self._context = context
        self._directory = directory
        self._config = config
        self._reports: dict[PartitionId, _Reports] = {}
        self._notices = Notices()
        self.trimmed_events = 0

    async def run_once(self) -> float:
        """Every partition whose watermark has moved."""
        now = time.monotonic()
        partitions = await self._directory.current()
        if len(self._reports) > len(partitions):
            known = {live.partition for live in partitions}
            self._reports = {key: each for key, each in self._reports.items() if key in known}
        due = [live for live in partitions if self._is_due(live, now)]
        await for_each(due, self.trim, self._notices, "trim_waits")
        return self._config.interval_seconds

    def _is_due(self, live: LivePartition, now: float) -> bool:
        """Whether the watermark has moved, or it is time to report it again."""
        reports = self._reports.get(live.partition)
        if reports is None or reports.watermark != live.watermark:
            return True
        return now - reports.at >= (REPEAT_DONE_SECONDS if reports.done else REPEAT_SECONDS)

    async def trim(self, live: LivePartition) -> None:
        """Report to one partition, and trim it.

        A partition whose epoch the ledger has not begun yet is left for later.
        """
        reports, now = self._reports.setdefault(live.partition, _Reports()), time.monotonic()
        mark, config = live.watermark, self._config
        had = reports.had_before(mark, now, config.keep_seconds)
        kept = min(await needed(self._context, live), within(had, mark, config.keep_events))
        reply = await self._context.store.trim(live.partition, mark, kept, by=live.ledger)
        self.trimmed_events += reply.trimmed
        reports.watermark, reports.at, reports.done = mark, now, kept == mark
        if reply.ledger_sequence > mark.sequence:
            known = f"{mark.epoch}-{reply.ledger_sequence}"
            self._notices.warn("ledger_older", str(live), watermark=str(mark), known=known)


async def needed(context: Context, live: LivePartition) -> Position:
    """The position up to which nobody needs the outbox: the ledger, a relay, a waiting room."""
    watermark = live.watermark
    read = await read_cursor(context.reader, live.partition)
    kept = watermark if read is None else min(watermark, within(read, watermark, ROOM_EVENTS_MAX))
    if context.event_log.kind != "kafka":
        return kept
    noted = cast("bytes | None", await context.reader.hget(relay_key(live.partition), "position"))
    sent = START if noted is None else position_of(noted)
    least = within(sent, watermark, context.event_log.kept_events)
    if sent < least:
        lacking = f"{stream_id(sent).decode()} to {stream_id(least).decode()}"
        _log.warning("log_lacks_events", partition=str(live), lacking=lacking)
    return min(kept, least)


def within(position: Position, watermark: Position, most: int) -> Position:
    """The position, or `most` events below the watermark where that is nearer."""
    if watermark.sequence <= most:
        return position
    return max(position, Position(watermark.epoch, watermark.sequence - most))
