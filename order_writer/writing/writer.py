"""The writer: applies batches, however disordered, repeated or damaged they are.

- After a fault of the world (a lost connection, a lock, a time-out) it tries again without end.
- A fault of an event is found by halving the batch; what fails POISON_TRIES times alone becomes a
  dead letter that holds its number.
- A gap is read from the outbox, then from the log's past; a gap that is in neither stops its
  partition, loudly, and no other.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from order_writer.folding.items import Item, decode_items
from order_writer.folding.letter_rows import foreign_letter
from order_writer.folding.rows import Folded
from order_writer.ledger import statements
from order_writer.ledger.transaction import Report
from order_writer.log.event_log import (
    Batch,
    EventLog,
    Foreign,
    LogEntry,
    Watermark,
    format_position,
)
from order_writer.log.outbox import Outbox
from order_writer.metrics import WriterMetrics
from order_writer.writing.faults import fault_backoff, is_poison, patiently, pause_or_stop
from order_writer.writing.known_ledger import KnownLedger

POISON_TRIES = 3

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Writer:
    """Applies batches; `stop` ends every wait inside (Stopping), with nothing half done."""

    pool: asyncpg.Pool
    ledger: KnownLedger
    outbox: Outbox
    log: EventLog
    metrics: WriterMetrics
    stop: asyncio.Event
    batch_max_events: int

    async def write(self, batch: Batch) -> None:
        """Return when all of the batch is applied, set aside, or of a stopped partition."""
        if batch.foreign:
            await patiently(self.stop, "set_aside", lambda: self._set_aside(batch.foreign))
        await self.apply(batch.entries)

    async def apply(self, entries: Sequence[LogEntry]) -> None:
        """Apply copies of events and whatever is missing before them."""
        waiting = await self._decoded(entries)
        sought: dict[PartitionId, tuple[Position, bool]] = {}
        while waiting:
            report = await self._apply_or_halve(waiting)
            self._count(report)
            waiting = []
            for partition, rest in report.rest.items():
                gap = report.gaps.get(partition)
                if gap is None:
                    waiting += rest
                elif found := await self._missing(gap, sought):
                    waiting += [*await self._decoded(found), *rest]
                else:
                    await self._stop(
                        partition, f"gap: {format_position(gap.position)} has no successor"
                    )

    async def _missing(
        self, gap: Watermark, sought: dict[PartitionId, tuple[Position, bool]]
    ) -> list[LogEntry]:
        """Events after the gap: from the outbox, and where that did not help, from the log."""
        position, from_log = sought.get(gap.partition, (None, False))
        first_time = position != gap.position
        found: list[LogEntry] = []
        if first_time:
            sought[gap.partition] = (gap.position, False)
            found = await patiently(
                self.stop,
                "read_outbox",
                lambda: self.outbox.read(gap.partition, gap.position, self.batch_max_events),
            )
        if not found and not (from_log and not first_time):
            sought[gap.partition] = (gap.position, True)
            found = await patiently(
                self.stop, "rewind_log", lambda: self.log.refetch(gap, self.batch_max_events)
            )
        _log.warning(
            "gap_read_again",
            partition=str(gap.partition),
            after=format_position(gap.position),
            found=len(found),
        )
        self.metrics.refetched.inc(len(found))
        return found

    async def _apply_or_halve(self, items: list[Item]) -> Report:
        """Apply items; where they fail, halve them to find the poisoned item, and set it aside."""
        try:
            return await self._applied(items)
        except Exception as error:
            if not is_poison(error):
                raise
            if len(items) == 1:
                return await self._bury_poison(items[0], error)
        ordered = sorted(items, key=lambda item: (item.entry.partition, item.entry.position))
        half = len(ordered) // 2
        report = await self._apply_or_halve(ordered[:half])
        report.add(await self._apply_or_halve(ordered[half:]))
        return report

    async def _bury_poison(self, item: Item, error: Exception) -> Report:
        """Apply an item that failed alone once: at most POISON_TRIES times, then set it aside."""
        if item.death is not None:
            raise error  # a dead letter is stored as it is: only a defect fails here
        for _ in range(POISON_TRIES - 1):
            await pause_or_stop(fault_backoff(), self.stop)
            try:
                return await self._applied([item])
            except Exception as again:
                if not is_poison(again):
                    raise
                error = again
        buried = item.buried("refused", str(error) or repr(error))
        self._log_death(buried)
        return await self._applied([buried])

    async def _applied(self, items: list[Item]) -> Report:
        return await patiently(self.stop, "apply", lambda: self.ledger.apply(items))

    async def _decoded(self, entries: Iterable[LogEntry]) -> list[Item]:
        """Decode; an unreadable copy is replaced by the outbox's, where that is readable."""
        items = decode_items(entries)
        for index, item in enumerate(items):
            if item.death is None:
                continue
            entry = item.entry
            copy = await patiently(
                self.stop,
                "read_outbox",
                lambda entry=entry: self.outbox.at(entry.partition, entry.position),  # type: ignore[misc]
            )
            if copy is not None:
                repaired = LogEntry(entry.partition, entry.position, copy.raw, entry.offset)
                items[index] = decode_items([repaired])[0]
            if items[index].death is not None:
                self._log_death(items[index])
        return items

    async def _set_aside(self, foreign: Sequence[Foreign]) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            letters = Folded(dead=[foreign_letter(each) for each in foreign])
            await statements.write(connection, letters)
        self.metrics.dead_letters.inc(len(foreign))
        _log.error("foreign_set_aside", letters=len(foreign), source=foreign[0].source)

    async def _stop(self, partition: PartitionId, reason: str) -> None:
        await patiently(self.stop, "stop_partition", lambda: self._store_stop(partition, reason))
        _log.error("partition_stopped", partition=str(partition), reason=reason)

    async def _store_stop(self, partition: PartitionId, reason: str) -> None:
        async with self.pool.acquire() as connection:
            await statements.stop_partitions(connection, {partition: reason})

    def _count(self, report: Report) -> None:
        self.metrics.batches.inc()
        self.metrics.events.inc(report.applied)
        self.metrics.repeated.inc(report.repeated)
        self.metrics.dead_letters.inc(report.dead)
        for partition, reason in report.stopped.items():
            _log.error("partition_stopped", partition=str(partition), reason=reason)

    def _log_death(self, item: Item) -> None:
        entry, death = item.entry, item.death
        if death is not None:
            _log.error(
                "event_set_aside",
                partition=str(entry.partition),
                position=format_position(entry.position),
                reason=death.reason,
                error=death.error,
            )
