"""Duty: a partition goes on after its Redis server restarted, was replaced, or lost its data.

The fence keeps everybody out of it meanwhile. The ledger must first have applied all that the
outbox and the event log still hold, while no relay leads; then it closes the epoch, in one
transaction. Where Sentinels may have replaced the primary, none of that begins before a former
primary that was cut off has stopped writing (reconciler/rebuilding/isolation.py). The server's data
is trusted only where its last event is exactly the ledger's: same number, same bytes. Otherwise the
partition is rebuilt from the ledger. Every step may be repeated after a crash at any point; a
partition that has a void number, or that the writer has stopped, stays closed and is reported.

Every second all partitions are looked at together, which shows a key that is missing or of another
type, a counter that is gone, and a server that is not trusted. What such a look cannot show, a
snapshot does: a share of the partitions takes its turn each second (reconciler/duties/rounds.py).

Partitions are recovered beside the looks at all others: a rebuild may take as long as it needs, and
a partition that cannot be recovered yet pauses by itself.
"""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

import asyncpg
import structlog

from gateway.inventory.errors import PartitionLost, Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.leases import Leases
from gateway.inventory.opening import LedgerConnection
from gateway.inventory.redis.memory import read_memory
from gateway.inventory.redis.outbox import OutboxEntry, fingerprint_of, read_run_id, read_tail
from gateway.inventory.types import CLOSED_EPOCHS_MAX, ClosedEpoch, Snapshot
from gateway.process.ledger_identity import identity_of
from gateway.process.ledger_run import ledger_run
from reconciler.comparing.balanced import Balanced
from reconciler.context import QUERIES, Context
from reconciler.duties.directory import LivePartition, read_partitions
from reconciler.duties.rounds import Rounds
from reconciler.duties.sights import Seen, Sights
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import CONCURRENCY_MAX, for_each
from reconciler.keeping.under_way import UnderWay
from reconciler.rebuilding.isolation import Isolation
from reconciler.rebuilding.log_end import require_log_applied
from reconciler.rebuilding.rebuild import Rebuild, rebuild

# How long a relay stays without its partition when this process dies in the middle of a recovery.
RELAY_LEASE_MILLISECONDS = 10_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecoverConfig:
    """`interval_seconds`: pause between looks at healthy partitions, and how stale `alive_at` may
    be; `retry_seconds`: pause while one is being recovered.
    """

    interval_seconds: float = 1.0
    retry_seconds: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError for impossible pauses."""
        if not 0 < self.retry_seconds <= self.interval_seconds:
            raise ValueError("recover: 0 < retry_seconds <= interval_seconds")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a recovery began with: the server's run, the ledger's run, the outbox' last event."""

    partition: PartitionId
    run_id: str
    ledger_run: str
    tail: OutboxEntry | None


class Recover:
    """Recovers partitions, and notes which are alive."""

    name: ClassVar[str] = "recover"
    needs_lead: ClassVar[bool] = True
    # Of the looks: recoveries go on beside them, without a deadline of their own.
    deadline_seconds: ClassVar[float] = 60.0

    def __init__(
        self, context: Context, sights: Sights, balanced: Balanced, config: RecoverConfig
    ) -> None:
        """`balanced` is given each snapshot, to doubt what it does not find as it was."""
        self._context = context
        self._sights = sights
        self._balanced = balanced
        self._config = config
        self._rounds = Rounds()
        self._notices = Notices()
        self._isolation = Isolation(context.redis)
        self._recoveries = UnderWay("recovery_waits", CONCURRENCY_MAX)
        # A rebuild keeps a connection for as long as it lasts; the other duties need some, too.
        self._rebuilds = asyncio.Semaphore(max(1, context.ledger.get_max_size() // 2))
        self._relay = Leases(context.reader, RELAY_LEASE_MILLISECONDS)

    async def recover_sale(self, sale_id: str) -> list[tuple[PartitionId, str]]:
        """Look at each partition of one sale, by hand; returns what came of it."""
        run_id = await read_run_id(self._context.reader)
        report = []
        for live in await read_partitions(self._context.ledger, sale_id):
            try:
                outcome = await self._look(live, run_id)
            except Recovering as error:
                outcome = f"stays closed: {error}"
            report.append((live.partition, outcome))
        return report

    async def run_once(self) -> float:
        """Every partition: note that it is alive, or begin to recover it."""
        run_id = await read_run_id(self._context.reader)
        seen = await self._sights.current()
        turn = self._rounds.begin(seen, run_id)

        async def look(each: Seen) -> tuple[PartitionId, int] | None:
            live = each.live
            if self._recoveries.has(live.partition):
                return None
            snapshot = await self._see(live, run_id)
            if snapshot is not None and snapshot.run_id == run_id:
                self._rounds.found_whole(each)
                self._balanced.doubt(live.partition, snapshot)
                return live.partition, snapshot.read_at
            self._recoveries.begin(live.partition, lambda: self._look_again(live))
            return None

        found = await for_each(turn.closely, look, self._notices, "recovery_waits")
        whole = [each for each in found if each is not None]
        alive = whole + [each for each in turn.alive if not self._recoveries.has(each[0])]
        if alive:
            await self._context.ledger.execute(
                QUERIES["note_alive"],
                [partition.sale_id for partition, _ in alive],
                [partition.number for partition, _ in alive],
                [read_at for _, read_at in alive],
            )
        all_healthy = len(whole) == len(turn.closely)
        return self._config.interval_seconds if all_healthy else self._config.retry_seconds

    async def end_work(self) -> None:
        """Cut off the recoveries; each may be repeated after an end at any step."""
        await self._recoveries.end()

    async def _see(self, live: LivePartition, run_id: str) -> Snapshot | None:
        """The partition's snapshot, as `_ask`. Raises Recovering also before the first load."""
        snapshot = await self._ask(live.partition, run_id)
        if snapshot is None and not live.was_loaded:
            raise Recovering(f"{live.partition} is being opened")
        return snapshot

    async def _look_again(self, live: LivePartition) -> None:
        """Recover the partition, unless it is healthy or its sale over by now: this may have waited
        for its turn.
        """
        partitions = await read_partitions(self._context.ledger, live.partition.sale_id)
        for now in partitions:
            if now.partition == live.partition:
                await self._look(now, await read_run_id(self._context.reader))

    async def _look(self, live: LivePartition, run_id: str) -> str:
        """Recover the partition where it needs that; returns the outcome in words."""
        partition = live.partition
        snapshot = await self._see(live, run_id)
        if snapshot is not None and snapshot.run_id == run_id:
            return "trusted"
        await self._isolation.passed(run_id)
        async with self._context.ledger.acquire() as connection:
            in_ledger = await ledger_run(connection)
        tail = await read_tail(self._context.reader, partition)
        look = _Look(partition, run_id, in_ledger, tail)
        if self._context.event_log.kind == "outbox":
            return await self._recover(look, snapshot)
        # While the ledger lacks events of the outbox, a relay must go on carrying them.
        await self._require_applied(partition, tail)
        await self._relay.take_over(partition)
        try:
            await require_log_applied(self._context.event_log, partition, in_ledger)
            return await self._recover(look, snapshot)
        finally:
            await self._relay.release([partition])

    async def _recover(self, look: _Look, snapshot: Snapshot | None) -> str:
        if snapshot is not None and await self._trust(look, snapshot):
            return "recovered"
        context = self._context
        async with self._rebuilds:
            plan = await self._plan_rebuild(look)
            count = await rebuild(context.ledger, context.store, context.bounds, plan)
        return f"rebuilt with {count} reservations"

    async def _ask(self, partition: PartitionId, run_id: str) -> Snapshot | None:
        """The partition's snapshot in this run of Redis; None where Redis lacks part of it.

        Raises Recovering where it cannot be asked: others may well be using the partition.
        """
        try:
            return await self._context.store.snapshot(partition, at_run=run_id)
        except PartitionLost:
            return None

    async def _require_applied(self, partition: PartitionId, tail: OutboxEntry | None) -> None:
        place = (partition.sale_id, partition.number)
        row = await self._context.ledger.fetchrow(QUERIES["watermark"], *place)
        if row is not None and tail is not None:
            _require_at(partition, Position(row["epoch"], row["sequence"]), tail)

    async def _trust(self, look: _Look, snapshot: Snapshot) -> bool:
        """Go on with the data in Redis; False where it is not what the ledger closed with."""
        partition, tail, last = look.partition, look.tail, snapshot.position
        place = (partition.sale_id, partition.number)
        async with self._context.ledger.acquire() as connection, connection.transaction():
            row = await self._lock_ready(connection, look)
            same = (
                tail is not None
                and tail.position == last == Position(row["epoch"], row["sequence"])
                and fingerprint_of(tail.raw) == row["fingerprint"]
            )
            if not same:
                return False
            next_epoch = await connection.fetchval(
                QUERIES["close_epoch"], *place, last.epoch, last.sequence, row["fingerprint"]
            )
            closed = await _closed_epochs(connection, partition)
            ledger = identity_of(connection)
        outcome = await self._context.store.recover(
            partition, next_epoch, last, row["alive_at"], closed, at_run=look.run_id, by=ledger
        )
        if outcome not in {"recovered", "already"}:
            _log.warning("partition_not_trusted", partition=str(partition), outcome=outcome)
            return False
        _log.info("partition_recovered", partition=str(partition), epoch=next_epoch)
        return True

    async def _plan_rebuild(self, look: _Look) -> Rebuild:
        """Close the epoch where the ledger is, under a successor nobody has used yet."""
        partition = look.partition
        place = (partition.sale_id, partition.number)
        seconds, microseconds = await self._context.reader.time()
        now_ms = seconds * 1000 + microseconds // 1000
        async with self._context.ledger.acquire() as connection, connection.transaction():
            row = await self._lock_ready(connection, look)
            closed = Position(row["epoch"], row["sequence"])
            next_epoch = await connection.fetchval(
                QUERIES["close_epoch_anew"],
                *place,
                closed.epoch,
                closed.sequence,
                row["fingerprint"],
            )
            closed_epochs = await _closed_epochs(connection, partition)
            ledger = identity_of(connection)
        last_alive = max(row["alive_at"], row["event_ms"] or 0)
        shift_ms = max(0, now_ms - last_alive)
        return Rebuild(partition, look.run_id, next_epoch, closed, shift_ms, closed_epochs, ledger)

    async def _lock_ready(self, connection: LedgerConnection, look: _Look) -> asyncpg.Record:
        """The partition's watermark, locked. Raises Recovering while the ledger lacks events of the
        outbox, where it is another run than the look was at, and where only a person can help.
        """
        partition = look.partition
        place = (partition.sale_id, partition.number)
        row = await connection.fetchrow(QUERIES["lock_watermark"], *place)
        if row is None:
            raise self._refused(partition, "not_in_ledger")
        watermark = Position(row["epoch"], row["sequence"])
        if row["stopped_reason"] is not None:
            raise self._refused(partition, "ledger_stopped", reason=row["stopped_reason"])
        if look.tail is not None:
            _require_at(partition, watermark, look.tail)
        if await ledger_run(connection) != look.ledger_run:
            raise Recovering(f"{partition}: the ledger may have come back older meanwhile")
        known = await read_memory(self._context.reader, partition)
        if lacking := known.lacking(watermark):
            # Neither the outbox nor the log has them; a rebuild would forget that they were.
            raise self._refused(partition, "ledger_older", lacking=lacking)
        if await connection.fetchrow(QUERIES["open_dead_letters"], *place, 1) is not None:
            raise self._refused(partition, "dead_letters_open")
        # The last look before the epoch is closed: what is written into it afterwards is fenced.
        found = await self._ask(partition, look.run_id)
        if found is not None and found.run_id == look.run_id:
            raise Recovering(f"{partition}: somebody else has recovered it meanwhile")
        return row

    def _refused(self, partition: PartitionId, why: str, **facts: object) -> Recovering:
        """The error for a state that no waiting heals, logged as an alarm."""
        shown = {name: repr(fact) for name, fact in facts.items()}
        self._notices.alarm("partition_stays_closed", str(partition), why=why, **shown)
        return Recovering(f"{partition}: {why}")


async def _closed_epochs(
    connection: LedgerConnection, partition: PartitionId
) -> tuple[ClosedEpoch, ...]:
    """The newest epochs that the ledger has closed, oldest first."""
    place = (partition.sale_id, partition.number)
    rows = await connection.fetch(QUERIES["newest_closed_epochs"], *place, CLOSED_EPOCHS_MAX)
    return tuple(ClosedEpoch(*row.values()) for row in reversed(rows))


def _require_at(partition: PartitionId, watermark: Position, tail: OutboxEntry) -> None:
    if watermark < tail.position:
        raise Recovering(f"{partition}: the ledger is at {watermark}, Redis at {tail.position}")
