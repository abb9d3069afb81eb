"""Duty: a partition whose Redis server has restarted goes on, once it is proven to be the same.

The fence keeps everybody out of it meanwhile. It is trusted again under the next epoch only where
its last event is exactly the last one of the ledger: same number, same bytes. The ledger closes the
epoch first, in one transaction; every step may be repeated after a crash at any point. A partition
that is older than the ledger, or differs from it, stays closed and is reported until it is rebuilt.
"""

from dataclasses import dataclass
from typing import ClassVar

import structlog

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import FIRST_EPOCH
from gateway.inventory.outbox import OutboxEntry, fingerprint_of, read_run_id, read_tail
from gateway.inventory.types import Snapshot
from reconciler.context import Context, sql
from reconciler.directory import LivePartition, read_partitions
from reconciler.notices import Notices
from reconciler.periodic import for_each

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecoverConfig:
    """`interval_seconds`: pause between looks at healthy partitions, and how stale `alive_at` may
    be; `retry_seconds`: pause while one is being recovered.
    """

    interval_seconds: float = 1.0
    retry_seconds: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError for pauses that are none."""
        if not 0 < self.retry_seconds <= self.interval_seconds:
            raise ValueError("recover: 0 < retry_seconds <= interval_seconds")


class Recover:
    """See the module."""

    name: ClassVar[str] = "recover"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 30.0

    def __init__(self, context: Context, config: RecoverConfig) -> None:
        self._context = context
        self._config = config
        self._notices = Notices()

    async def recover_sale(self, sale_id: str) -> list[tuple[PartitionId, str]]:
        """What came of each partition of one sale, by hand."""
        run_id = await read_run_id(self._context.reader)
        report = []
        for live in await read_partitions(self._context.ledger, sale_id):
            outcome = "trusted"
            try:
                snapshot = await self._context.store.snapshot(live.partition)
                if snapshot.run_id != run_id:
                    await self._recover(live.partition, snapshot)
                    outcome = "recovered"
            except Recovering as error:
                outcome = f"stays closed: {error}"
            report.append((live.partition, outcome))
        return report

    async def run_once(self) -> float:
        """Every partition: note that it is alive, or recover it."""
        run_id = await read_run_id(self._context.reader)
        partitions = await read_partitions(self._context.ledger)

        async def look(live: LivePartition) -> tuple[PartitionId, Snapshot]:
            try:
                snapshot = await self._context.store.snapshot(live.partition)
            except Recovering as error:
                raise await self._unreadable(live, error) from error
            if snapshot.run_id != run_id:
                await self._recover(live.partition, snapshot)
            return live.partition, snapshot

        seen = await for_each(partitions, look, self._notices, "recovery_waits")
        healthy = [(partition, shot) for partition, shot in seen if shot.run_id == run_id]
        await self._context.ledger.execute(
            sql["note_alive"],
            [partition.sale_id for partition, _ in healthy],
            [partition.number for partition, _ in healthy],
            [shot.read_at for _, shot in healthy],
        )
        settled = len(healthy) == len(partitions)
        return self._config.interval_seconds if settled else self._config.retry_seconds

    async def _recover(self, partition: PartitionId, snapshot: Snapshot) -> None:
        """Trust the partition again, or raise Recovering with what it waits for."""
        closed = Position(snapshot.epoch, snapshot.sequence)
        tail = await read_tail(self._context.reader, partition)
        if tail is None or tail.position != closed:
            found = None if tail is None else tail.position
            raise self._refused(partition, "outbox_differs", at=closed, outbox=found)
        next_epoch, alive_at = await self._close_epoch(partition, tail)
        outcome = await self._context.store.recover(partition, next_epoch, closed, alive_at)
        if outcome not in {"recovered", "already"}:
            raise self._refused(partition, "redis_differs", at=closed, outcome=outcome)
        _log.info("partition_recovered", partition=str(partition), epoch=next_epoch)

    async def _close_epoch(self, partition: PartitionId, tail: OutboxEntry) -> tuple[int, int]:
        """The epoch to go on under, and when the partition's server was last seen alive (ms)."""
        place, epoch = (partition.sale_id, partition.number), tail.position.epoch
        async with self._context.ledger.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(sql["lock_watermark"], *place)
            if row is None:
                raise self._refused(partition, "not_in_ledger")
            watermark = Position(row["epoch"], row["sequence"])
            if watermark < tail.position:
                message = f"{partition}: the ledger is at {watermark}, Redis at {tail.position}"
                raise Recovering(message)
            if row["stopped_reason"] is not None:
                raise self._refused(partition, "ledger_stopped", reason=row["stopped_reason"])
            fingerprint = fingerprint_of(tail.raw)
            if watermark > tail.position or bytes(row["fingerprint"]) != fingerprint:
                raise self._refused(partition, "redis_differs", at=tail.position, ledger=watermark)
            if await connection.fetchrow(sql["open_dead_letters"], *place, 1) is not None:
                raise self._refused(partition, "dead_letters_open")
            await connection.execute(
                sql["close_epoch"], *place, epoch, tail.position.sequence, fingerprint
            )
            end = await connection.fetchrow(sql["closed_epoch"], *place, epoch)
            if end is None or end["last_sequence"] != tail.position.sequence:
                raise self._refused(partition, "epoch_closed_elsewhere", at=tail.position)
            return end["next_epoch"], row["alive_at"]

    async def _unreadable(self, live: LivePartition, error: Recovering) -> Recovering:
        """Keys that are missing although the ledger has events of them are lost, and said so."""
        opening = live.watermark == Position(FIRST_EPOCH, 0)
        if opening or await read_tail(self._context.reader, live.partition) is not None:
            return error
        return self._refused(live.partition, "redis_lost_it", ledger=live.watermark)

    def _refused(self, partition: PartitionId, why: str, **facts: object) -> Recovering:
        """What no waiting heals: said loudly, and the partition stays closed."""
        told = {name: repr(fact) for name, fact in facts.items()}
        self._notices.alarm("partition_stays_closed", str(partition), why=why, **told)
        return Recovering(f"{partition}: {why}")
