"""An exact comparison of one partition, while it is in use.

Counters are compared at the number of one snapshot: the ledger is folded back to it, so a
difference is drift and never lag. Records are read in pages and hold up nobody; a record that does
not agree at first sight is read again, at a number the ledger has reached, before it counts as a
difference.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import asyncpg

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.types import AccountCounters, Snapshot
from gateway.process.ledger_identity import LedgerIdentity
from reconciler.comparing.catching_up import wait_for_ledger
from reconciler.comparing.differences import DIFFERENCES_MAX, Difference, Kind
from reconciler.comparing.judging import Judge, Place
from reconciler.comparing.limits import Limits
from reconciler.comparing.paging import Scope
from reconciler.comparing.records import Records
from reconciler.comparing.whole import suspects_of_partition
from reconciler.context import QUERIES, Context

COUNTERS = ("loaded", "adjusted", "transferred", "in_transit", "available", "held", "sold")


@dataclass(frozen=True, slots=True)
class CompareConfig:
    """`interval_seconds`: pause between comparisons of a sale; `ledger_wait_seconds`: how long the
    ledger may take to reach a number; `page_records`: records, or buyers, in one read of Redis;
    `full_interval_seconds`: how often a periodic comparison looks at all records, not only at
    records that changed since the last comparison without differences; `quiet_interval_seconds`:
    pause between comparisons of a sale in which nothing happened since.
    """

    interval_seconds: float = 30.0
    ledger_wait_seconds: float = 10.0
    page_records: int = 1000
    full_interval_seconds: float = 600.0
    quiet_interval_seconds: float = 1800.0

    def __post_init__(self) -> None:
        """Raise ValueError for impossible bounds."""
        times = (
            *(self.interval_seconds, self.full_interval_seconds, self.quiet_interval_seconds),
            self.ledger_wait_seconds,
        )
        if min(times) <= 0:
            raise ValueError("compare: intervals must be positive")
        if not 1 <= self.page_records <= 1000:
            raise ValueError("compare: page_records must be 1 to 1000")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The snapshot with which one partition was compared, what was found, and the ledger that
    counted when it began.
    """

    partition: PartitionId
    snapshot: Snapshot
    differences: tuple[Difference, ...]
    places: tuple[Place, ...]
    ledger: LedgerIdentity | None

    @property
    def position(self) -> Position:
        """The number at which the partition was compared."""
        return self.snapshot.position

    @property
    def skus(self) -> tuple[str, ...]:
        """In the order of the items' numbers; `places` are in that of the accounts' numbers."""
        return _skus(self.places)


@dataclass(frozen=True, slots=True)
class _LedgerView:
    """The ledger at the snapshot's number, read in one repeatable-read transaction."""

    accounts: tuple[AccountCounters, ...]
    reservations: int
    voids: tuple[Difference, ...]


async def compare_partition(
    context: Context,
    partition: PartitionId,
    config: CompareConfig,
    *,
    since: Position | None = None,
    compared: Callable[[int], None] = lambda _seen: None,
) -> Comparison:
    """Compare all counters, and all records; with `since`, records that changed beyond it.

    Without `since`, calls `compared` with the number of reservations of each page it is done with.

    Raises LedgerBehind, or Recovering where the partition is not trusted.
    """
    snapshot = await context.store.snapshot(partition)
    if snapshot.run_id != await read_run_id(context.reader):
        raise Recovering(f"{partition}: its server has restarted")
    position = snapshot.position
    await wait_for_ledger(context.ledger, partition, position, config.ledger_wait_seconds)
    ledger = context.fence.counts  # at least one connection was asked for above
    view = await _read_ledger(context.ledger, partition, position)
    found = [*_compare_counters(partition, snapshot, view), *view.voids]
    scope = Scope(context, partition, position, config.page_records)
    places = tuple((account.sku, account.location) for account in snapshot.accounts)
    records = Records(scope, Judge(partition, places), config.ledger_wait_seconds)
    limits = Limits(scope, _skus(places), config.ledger_wait_seconds)
    if since is None:
        await _compare_all(scope, records, limits, places, compared)
    else:
        await records.compare_changed(since)
        await limits.compare_changed(since)
    if records.missing or snapshot.reservations != view.reservations:
        await records.find_unknown()
    await limits.compare(tuple(_strangers(records.differences)))
    found += [*records.differences, *limits.differences]
    # A reservation that changed twice is on two pages, and its differences are found twice.
    differences = tuple(dict.fromkeys(found))[:DIFFERENCES_MAX]
    return Comparison(partition, snapshot, differences, places, ledger)


async def _compare_all(
    scope: Scope,
    records: Records,
    limits: Limits,
    places: tuple[Place, ...],
    compared: Callable[[int], None],
) -> None:
    """Every record and every buyer; what differs at first sight is looked at again on the way."""
    items = {sku: number for number, sku in enumerate(_skus(places), start=1)}
    item_of = {number: items[sku] for number, (sku, _) in enumerate(places, start=1)}
    async with aclosing(suspects_of_partition(scope, item_of)) as pages:
        async for suspects in pages:
            await records.suspect(suspects.tokens)
            await limits.compare(suspects.buyers)
            compared(suspects.seen)
            if records.full or limits.full:
                break
    await records.settle()


def _skus(places: tuple[Place, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sku for sku, _ in places))


def _strangers(differences: Iterable[Difference]) -> dict[str, None]:
    """Buyers named by records that the ledger does not have, or has as another buyer's."""
    named = (
        d.redis_value if d.field == "buyer_id" else d.buyer_id if d.ledger_value is None else None
        for d in differences
    )
    return dict.fromkeys(buyer for buyer in named if buyer is not None)


async def _read_ledger(ledger: asyncpg.Pool, partition: PartitionId, at: Position) -> _LedgerView:
    place = (partition.sale_id, partition.number)
    number = (at.epoch, at.sequence)
    async with (
        ledger.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        accounts = await connection.fetch(QUERIES["accounts_at"], *place, *number)
        reservations = await connection.fetchval(QUERIES["reservations_at"], *place, *number)
        letters = await connection.fetch(QUERIES["open_dead_letters"], *place, DIFFERENCES_MAX)
    return _LedgerView(
        accounts=tuple(
            AccountCounters(row["sku"], row["location"], *(row[name] for name in COUNTERS))
            for row in accounts
        ),
        reservations=reservations,
        voids=tuple(
            Difference(
                partition=partition.number,
                kind=Kind.VOID,
                reservation_id=row["reservation_id"],
                field=f"{row['epoch']}-{row['sequence']}",
                ledger_value=row["reason"],
            )
            for row in letters
        ),
    )


def _compare_counters(
    partition: PartitionId, snapshot: Snapshot, view: _LedgerView
) -> Iterator[Difference]:
    redis = {(account.sku, account.location): account for account in snapshot.accounts}
    ledger = {(account.sku, account.location): account for account in view.accounts}
    for sku, location in sorted(redis.keys() | ledger.keys()):
        sides = redis.get((sku, location)), ledger.get((sku, location))
        for name in COUNTERS:
            ours, theirs = (None if side is None else getattr(side, name) for side in sides)
            if ours != theirs:
                yield _counter(partition, name, ours, theirs, sku=sku, location=location)
    if snapshot.reservations != view.reservations:
        yield _counter(partition, "reservations", snapshot.reservations, view.reservations)


def _counter(
    partition: PartitionId,
    name: str,
    redis: int | None,
    ledger: int | None,
    *,
    sku: str | None = None,
    location: str | None = None,
) -> Difference:
    return Difference(
        partition=partition.number,
        kind=Kind.COUNTER,
        sku=sku,
        location=location,
        field=name,
        redis_value=None if redis is None else str(redis),
        ledger_value=None if ledger is None else str(ledger),
    )
