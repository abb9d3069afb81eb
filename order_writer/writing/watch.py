"""Watermarks against the ends of the outboxes: every second, also when the log is silent.

Events that the log should have delivered by now are read from the outbox. An outbox whose event at
the watermark has other bytes than the ledger's is another history: its partition stops. A partition
that does not answer yet is left to recovery, which rebuilds it from the ledger.
"""

import time
from dataclasses import dataclass, field

import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import fingerprint_of
from order_writer.folding.rows import columns
from order_writer.ledger import statements
from order_writer.log.event_log import LogEntry, Watermark, format_position
from order_writer.writing.writer import Writer

MOST_BATCHES_PER_ROUND = 10

_log = structlog.get_logger()


@dataclass(slots=True)
class Watch:
    """Compares, catches up, and keeps the log's list of partitions current; `stopped`: partitions
    that apply nothing more, as last read.
    """

    writer: Writer
    stopped: list[Watermark] = field(default_factory=list)
    _since: dict[PartitionId, tuple[Position, float]] = field(default_factory=dict)
    # The tails that the ledger has.
    _recorded: dict[PartitionId, Position] = field(default_factory=dict)

    async def refresh(self) -> list[Watermark]:
        """Read all watermarks, set the gauges, and let the log follow the partitions that run."""
        async with self.writer.pool.acquire() as connection:
            rows = await connection.fetch(statements.QUERIES["followed_partitions"])
            letters = await connection.fetchval(statements.QUERIES["count_open_letters"])
        marks = [statements.mark_of(row) for row in rows]
        self._recorded = {
            mark.partition: Position(row["tail_epoch"], row["tail_sequence"])
            for mark, row in zip(marks, rows, strict=True)
        }
        running = [mark for mark in marks if mark.stopped_reason is None]
        self.stopped = [mark for mark in marks if mark.stopped_reason is not None]
        self.writer.log.follow(running)
        metrics = self.writer.metrics
        metrics.stopped.set(len(self.stopped))
        metrics.open_dead_letters.set(letters)
        behind = [
            row
            for row in rows
            if (row["tail_epoch"], row["tail_sequence"]) > (row["epoch"], row["sequence"])
        ]
        metrics.lag_seconds.set(max((row["age_seconds"] or 0.0 for row in behind), default=0.0))
        metrics.lag_events.set(
            sum(
                row["tail_sequence"] - (row["sequence"] if row["tail_epoch"] == row["epoch"] else 0)
                for row in behind
            )
        )
        return running

    async def compare(self) -> None:
        """One round. Raises what Redis and Postgres raise; the next round tries again."""
        await self.writer.ledger.look()
        marks = await self.refresh()
        if not marks:
            return
        ends = await self.writer.outbox.ends(marks)
        await self._record([(mark, end.tail) for mark, end in zip(marks, ends, strict=True)])
        forked: dict[PartitionId, str] = {}
        for mark, end in zip(marks, ends, strict=True):
            tail = end.tail
            if end.is_trusted and _differs(mark, end.copy):
                forked[mark.partition] = (
                    f"forked: the outbox has another {format_position(mark.position)}"
                )
            elif tail is not None and tail > mark.position and self._overdue(mark):
                await self._catch_up(mark)
            elif tail is None or tail <= mark.position:
                self._since.pop(mark.partition, None)
        if forked:
            async with self.writer.pool.acquire() as connection:
                await statements.stop_partitions(connection, forked)
            for partition, reason in forked.items():
                _log.error("partition_stopped", partition=str(partition), reason=reason)

    def _overdue(self, mark: Watermark) -> bool:
        """Whether this watermark has stood still beyond the log's patience with events after it."""
        now = time.monotonic()
        position, since = self._since.get(mark.partition, (None, now))
        if position != mark.position:
            self._since[mark.partition] = (mark.position, now)
            return False
        return now - since > self.writer.log.patience_seconds

    async def _catch_up(self, mark: Watermark) -> None:
        """Apply what the outbox has beyond the watermark, at most MOST_BATCHES_PER_ROUND of it."""
        writer, partition, after, found = self.writer, mark.partition, mark.position, 0
        for _ in range(MOST_BATCHES_PER_ROUND):
            entries = await writer.outbox.read(partition, after, writer.batch_max_events)
            if not entries:
                break
            await writer.apply(entries)
            after, found = entries[-1].position, found + len(entries)
        writer.metrics.refetched.inc(found)
        # As long as the log stays silent, the next round goes on at once instead of waiting anew.
        self._since[partition] = (after, self._since[partition][1])
        _log.warning(
            "log_missed_events",
            partition=str(partition),
            after=format_position(mark.position),
            found=found,
        )

    async def _record(self, tails: list[tuple[Watermark, Position | None]]) -> None:
        rows = [
            (mark.partition.sale_id, mark.partition.number, tail.epoch, tail.sequence)
            for mark, tail in tails
            if tail is not None and tail != self._recorded.get(mark.partition)
        ]
        if rows:
            async with self.writer.pool.acquire() as connection:
                await connection.execute(statements.QUERIES["record_tails"], *columns(rows))


def _differs(mark: Watermark, copy: LogEntry | None) -> bool:
    return (
        copy is not None
        and mark.fingerprint is not None
        and fingerprint_of(copy.raw) != mark.fingerprint
    )
