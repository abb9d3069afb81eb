"""A ledger that may have come back older than Redis: a restored backup, a standby that lagged.

Nothing is applied to a run of the ledger before it has been told what it may have forgotten. Its
closed epochs come first: a ledger without them would take fenced events for the next ones. Each
partition remembers them in Redis (lua/partitions/include/closed_epochs.lua). So does the state of a
sale that was paused or closed since. Then the log is read again from where the ledger is.

The run (gateway/process/ledger_run.py) is asked for in the transaction that applies, so it cannot
change between the question and the commit.

Redis must answer before anything is applied to another run: one server has all partitions, and
while it is away nothing is sold. A partition without a memory holds up nobody.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import ClosedEpoch, SaleState
from gateway.process.audit import AuditAction
from gateway.process.ledger_run import ledger_run
from order_writer.folding.closed import ForkedEpoch, forgotten
from order_writer.folding.items import Item
from order_writer.ledger import statements
from order_writer.ledger.run import (
    AnotherLedger,
    adopt_states,
    close_epochs,
    newest_offsets,
    require_run,
    write_audit,
)
from order_writer.ledger.transaction import Report, apply_items
from order_writer.log.event_log import EventLog, Watermark, format_position
from order_writer.log.outbox import Outbox, Recalled

# Partitions whose memories are read at once, and whose watermarks one transaction locks.
PARTITIONS_EACH = 200
TOLD_MAX = 100_000
# States that are intended in the ledger and carried to the partitions.
_STATES = frozenset({SaleState.OPEN, SaleState.PAUSED, SaleState.CLOSED})

_log = structlog.get_logger()


@dataclass(slots=True)
class KnownLedger:
    """The run of the ledger that was told what it may have forgotten; None: none yet.

    `_told`: partitions of which it was told. Others may come later: a sale that was opened since is
    a draft in an older ledger until it is opened again.
    """

    pool: asyncpg.Pool
    outbox: Outbox
    log: EventLog
    run: str | None = None
    _told: set[PartitionId] = field(default_factory=set)

    async def apply(self, items: Sequence[Item]) -> Report:
        """As `apply_items`; the ledger is told first what it may have forgotten.

        Raises what Redis and Postgres raise while they are away.
        """
        while True:
            try:
                run = self.run or await self._meet()
                await self._tell(run, {item.entry.partition for item in items} - self._told)
                return await apply_items(self.pool, items, run)
            except AnotherLedger:
                self.run = None

    async def look(self) -> None:
        """Tell the ledger, where it is another run, though there is nothing to apply."""
        async with self.pool.acquire() as connection:
            found = await ledger_run(connection)
        if found != self.run:
            with suppress(AnotherLedger):  # the next look, or the next batch, begins again
                await self._meet()

    async def _meet(self) -> str:
        """Tell another run all that it may have forgotten, and let the log read again.

        Raises AnotherLedger where the run changes meanwhile.
        """
        self.run = None
        self._told.clear()
        async with self.pool.acquire() as connection:
            run = await ledger_run(connection)
            marks = await statements.followed(connection)
            newest = await newest_offsets(connection)
        await self._tell(run, {mark.partition for mark in marks})
        self.log.rewind(run, marks, newest)
        self.run = run
        _log.info("ledger_known", run=run, partitions=len(marks))
        return run

    async def _tell(self, run: str, partitions: AbstractSet[PartitionId]) -> None:
        """Tell the ledger about these partitions. Raises AnotherLedger where it is not this run."""
        if len(self._told) > TOLD_MAX:
            self._told.clear()  # many are of settled sales; others are told again
        untold = sorted(partitions)
        for first in range(0, len(untold), PARTITIONS_EACH):
            some = untold[first : first + PARTITIONS_EACH]
            found = zip(some, await self.outbox.recall(some), strict=True)
            async with self.pool.acquire() as connection, connection.transaction():
                await require_run(connection, run)
                told = await _remind(connection, dict(found))
            self._told |= told


async def _remind(
    connection: statements.Connection, found: Mapping[PartitionId, Recalled]
) -> AbstractSet[PartitionId]:
    """Add what the ledger lacks; a partition that contradicts it stops. Returns the partitions that
    the ledger has.
    """
    # Sales before watermarks, as everybody locks them.
    states = {
        key: (one.state, one.memory.known) for key, one in found.items() if one.state in _STATES
    }
    adopted = await adopt_states(connection, states)
    marks = await statements.lock_watermarks(connection, found)
    stored = await statements.closed_epochs(connection, marks)
    closings: dict[PartitionId, list[ClosedEpoch]] = {}
    forked: dict[PartitionId, str] = {}
    for partition, mark in marks.items():
        memory = found[partition].memory
        try:
            closings[partition] = forgotten(mark.position, stored[partition], memory.closed)
        except ForkedEpoch as error:
            # Until the partition answers, recovery judges it, and rebuilds it from the ledger.
            if found[partition].is_trusted:
                forked[partition] = f"forked: {error}"
            continue
        if closings[partition] or memory.known > mark.position:
            state = adopted.get(partition.sale_id)
            await _note(connection, mark, memory.known, closings[partition], state)
    await close_epochs(connection, closings)
    await statements.stop_partitions(connection, forked)
    for partition, reason in forked.items():
        _log.error("partition_stopped", partition=str(partition), reason=reason)
    return marks.keys()


async def _note(
    connection: statements.Connection,
    mark: Watermark,
    known: Position,
    closings: Sequence[ClosedEpoch],
    state: str | None,
) -> None:
    """Say that the ledger is older, to the audit log and to people."""
    facts = {
        "applied": format_position(mark.position),
        "known": format_position(known),
        "closed_epochs": [closing.epoch for closing in closings],
        "state": state,
    }
    partition = mark.partition
    await write_audit(
        connection,
        AuditAction.LEDGER_OLDER,
        partition.sale_id,
        partition=partition.number,
        **facts,
    )
    _log.warning("ledger_older", partition=str(partition), **facts)
