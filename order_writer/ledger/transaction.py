"""One batch, one transaction: applies what can be applied, and reports the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from gateway.inventory.keys import PartitionId
from order_writer.folding.fold import Fold
from order_writer.folding.items import Item
from order_writer.folding.plan import Plan, in_order, plan
from order_writer.ledger import statements
from order_writer.ledger.run import require_run
from order_writer.log.event_log import Watermark, format_position


@dataclass(slots=True)
class Report:
    """What came of a batch.

    `rest`: items that could not be applied yet, because they follow a gap (then `gaps` has where
    the history stands) or belong to the next epoch. `stopped`: partitions that apply nothing more.
    """

    applied: int = 0
    repeated: int = 0
    dead: int = 0
    rest: dict[PartitionId, list[Item]] = field(default_factory=dict)
    gaps: dict[PartitionId, Watermark] = field(default_factory=dict)
    stopped: dict[PartitionId, str] = field(default_factory=dict)

    def add(self, later: "Report") -> None:
        """Add the report of the part of the batch that follows."""
        self.applied += later.applied
        self.repeated += later.repeated
        self.dead += later.dead
        for partition, items in later.rest.items():
            self.rest.setdefault(partition, []).extend(items)
        self.gaps.update(later.gaps)
        self.stopped.update(later.stopped)


@dataclass(slots=True)
class _Work:
    """A partition's part of the batch while its transaction runs."""

    mark: Watermark
    plan: Plan
    stop: str | None


async def apply_items(pool: asyncpg.Pool, items: Sequence[Item], run: str) -> Report:
    """Apply what can be applied, in one transaction that leaves no trace if it fails.

    `run`: of the ledger whose closed epochs are known to be complete. Raises AnotherLedger for any
    other, what Postgres raises, and IntegrityViolation where an event contradicts the history.
    """
    groups: dict[PartitionId, list[Item]] = {}
    for item in items:
        groups.setdefault(item.entry.partition, []).append(item)
    async with pool.acquire() as connection, connection.transaction():
        await require_run(connection, run)
        return await _apply(connection, groups)


async def _apply(
    connection: statements.Connection, groups: dict[PartitionId, list[Item]]
) -> Report:
    report, fold = Report(), Fold()
    marks = await statements.lock_watermarks(connection, groups)
    for partition in groups.keys() - marks.keys():
        strangers = [
            item.buried("unknown_partition", "not a partition") for item in groups[partition]
        ]
        fold.set_aside(strangers)
        report.dead += len(strangers)
    closed = await statements.closed_epochs(connection, marks)
    waiting = await statements.waiting_reservations(connection, marks)
    works: dict[PartitionId, _Work] = {}
    for partition, mark in marks.items():
        if mark.stopped_reason is None:
            ordered, fork = in_order(groups[partition])
            decided = plan(mark, closed[partition], ordered)
            works[partition] = _Work(mark, decided, decided.stop or fork)
    repeated = [item for work in works.values() for item in work.plan.repeated]
    for item in await statements.contradicted(connection, repeated):
        work = works[item.entry.partition]
        work.stop = f"forked: the ledger has another {format_position(item.entry.position)}"
        work.plan = Plan()
    for partition, work in works.items():
        _fold(fold, report, partition, work, waiting)
    folded = fold.result()
    await statements.write(connection, folded)
    await statements.advance(connection, folded)
    await statements.stop_partitions(connection, report.stopped)
    report.repeated = len(repeated)
    return report


def _fold(
    fold: Fold, report: Report, partition: PartitionId, work: _Work, waiting: set[str]
) -> None:
    decided = work.plan
    run = _behind(decided.run, waiting)
    fold.add(run)
    fold.set_aside([item.buried("fenced", "beyond its epoch's close") for item in decided.fenced])
    dead = sum(item.death is not None for item in run)
    report.applied += len(run) - dead
    report.dead += dead + len(decided.fenced)
    if work.stop is not None:
        report.stopped[partition] = work.stop
    elif decided.rest:
        report.rest[partition] = decided.rest
        if decided.gap:
            mark = work.mark
            at = run[-1].entry.position if run else mark.position
            report.gaps[partition] = Watermark(partition, at, mark.offsets)


def _behind(run: list[Item], waiting: set[str]) -> list[Item]:
    """The run; an event whose reservation has a dead letter before it is set aside, to wait."""
    if not waiting and all(item.death is None for item in run):
        return run
    blocked, result = set(waiting), []
    for item in run:
        reservation_id = item.reservation_id
        if item.death is not None:
            result.append(item)
            if reservation_id is not None:
                blocked.add(reservation_id)
        elif reservation_id in blocked:
            result.append(item.buried("waits_behind", "an earlier event was set aside"))
        else:
            result.append(item)
    return result
