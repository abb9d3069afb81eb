"""Imports partitions that have stopped at a gap, beside the writer's loop, one at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import structlog
from redis.asyncio import Redis

from config.settings import RedisSettings
from config.waiting import Backoff, cancelled
from gateway.inventory.errors import InventoryError
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore
from lua.loader import load_scripts
from order_writer.importing.errors import ImportRefused
from order_writer.importing.importing import CURABLE, Sources, import_partition
from order_writer.log.event_log import Watermark, format_position
from order_writer.log.outbox import Outbox
from order_writer.metrics import WriterMetrics
from order_writer.writing.faults import PASSING

PAUSE_FIRST_SECONDS = 0.5
PAUSE_MOST_SECONDS = 10.0

_log = structlog.get_logger()


class Importer:
    """Begins where the watch has found stopped partitions; a partition that cannot be imported
    pauses, longer every time, and holds up no other.
    """

    def __init__(
        self, settings: RedisSettings, pool: asyncpg.Pool, reader: Redis, metrics: WriterMetrics
    ) -> None:
        """`reader` and `pool` stay open until `end` has returned."""
        self._settings = settings.model_copy(update={"connections": 1})
        self._pool = pool
        self._reader = reader
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._pauses: dict[PartitionId, tuple[Backoff, float]] = {}

    def begin(self, stopped: Sequence[Watermark]) -> None:
        """Import what can be imported of these partitions, unless an import is under way."""
        if self._task is not None and not self._task.done():
            return
        now = time.monotonic()
        due = [
            mark.partition
            for mark in stopped
            if (mark.stopped_reason or "").startswith(CURABLE)
            and self._pauses.get(mark.partition, (None, 0.0))[1] <= now
        ]
        if due:
            self._task = asyncio.create_task(self._import(due), name="order-writer-import")

    async def end(self) -> None:
        """Cut off the import under way, which leaves no trace."""
        if self._task is not None:
            await cancelled(self._task)

    async def _import(self, partitions: Sequence[PartitionId]) -> None:
        try:
            async with self._store() as store:
                sources = Sources(self._pool, store, self._reader, Outbox(self._reader))
                for partition in partitions:
                    await self._import_one(sources, partition)
        except Exception:  # noqa: BLE001 - a defect is logged whole; the writer goes on
            _log.exception("import_failed")

    async def _import_one(self, sources: Sources, partition: PartitionId) -> None:
        began = time.monotonic()
        try:
            imported = await import_partition(sources, partition)
        except ImportRefused as error:
            _log.error("import_refused", partition=str(partition), reason=str(error))
        except (*PASSING, InventoryError) as error:
            _log.warning("import_waits", partition=str(partition), error=repr(error))
        else:
            if imported is not None:
                self._metrics.imports.inc()
                _log.warning(
                    "ledger_imported",
                    partition=str(partition),
                    after=format_position(imported.missing.after),
                    last=format_position(imported.missing.last),
                    until=format_position(imported.until),
                    reservations=imported.reservations,
                    unreadable=imported.unreadable,
                    seconds=round(time.monotonic() - began, 3),
                )
                self._pauses.pop(partition, None)
                return
        pauses, _ = self._pauses.get(
            partition, (Backoff(PAUSE_FIRST_SECONDS, PAUSE_MOST_SECONDS), 0.0)
        )
        self._pauses[partition] = (pauses, time.monotonic() + pauses.next_seconds())

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[ReservationStore]:
        scripts = ScriptPool(self._settings, load_scripts())
        await scripts.start()
        try:
            yield ReservationStore(scripts)
        finally:
            await scripts.stop()
