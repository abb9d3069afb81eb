"""Duty: tell each partition how far the ledger is, and drop the events the ledger has.

The partition's bound on events beyond the ledger counts from what it was told here, so this must be
prompt. Nothing else trims an outbox. While Kafka is away the ledger goes on from the outboxes; what
Kafka has not got stays for the relay, `event_log.kept_events` at most.
"""

import time
from dataclasses import dataclass
from typing import ClassVar, cast

import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import relay_key
from gateway.inventory.outbox import START, position_of, stream_id
from reconciler.context import Context
from reconciler.directory import LivePartition, read_partitions
from reconciler.notices import Notices
from reconciler.periodic import for_each

# A partition that was told the same before is told again after this: it may have been restored.
REPEAT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrimConfig:
    """`interval_seconds`: pause between looks at the watermarks."""

    interval_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a pause that would let a healthy outbox fill."""
        if not 0 < self.interval_seconds <= 10:
            raise ValueError("trim interval must be at most 10 s")


@dataclass(frozen=True, slots=True)
class _Told:
    watermark: Position
    at: float


class Trim:
    """See the module."""

    name: ClassVar[str] = "trim"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 15.0

    def __init__(self, context: Context, config: TrimConfig) -> None:
        self._context = context
        self._config = config
        self._told: dict[str, _Told] = {}
        self._notices = Notices()
        self.trimmed_events = 0

    async def run_once(self) -> float:
        """Every partition whose watermark has moved."""
        partitions = await read_partitions(self._context.ledger)
        await for_each(partitions, self.trim, self._notices, "trim_waits")
        return self._config.interval_seconds

    async def trim(self, live: LivePartition) -> None:
        """Tell one partition. One whose epoch the ledger has not begun yet is left for later."""
        told, now = self._told.get(str(live)), time.monotonic()
        if told and told.watermark == live.watermark and now - told.at < REPEAT_SECONDS:
            return
        kept = await unsent(self._context, live)
        reply = await self._context.store.trim(live.partition, live.watermark, kept)
        self.trimmed_events += reply.trimmed
        self._told[str(live)] = _Told(live.watermark, now)


async def unsent(context: Context, live: LivePartition) -> Position:
    """From where on the outbox is still needed: by the ledger, and by a relay."""
    watermark = live.watermark
    if context.event_log.kind != "kafka":
        return watermark
    noted = cast("bytes | None", await context.reader.hget(relay_key(live.partition), "position"))
    sent = START if noted is None else position_of(noted)
    least = Position(watermark.epoch, max(0, watermark.sequence - context.event_log.kept_events))
    if sent < least and least.sequence > 0:
        lacking = f"{stream_id(sent).decode()} to {stream_id(least).decode()}"
        _log.warning("log_lacks_events", partition=str(live), lacking=lacking)
        return least
    return min(sent, watermark)
