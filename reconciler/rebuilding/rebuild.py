"""Rebuilds a partition in Redis from the ledger: begin (clears), chunks, commit.

May be begun again after a crash at any step; until the commit the partition answers nobody. Active
holds get back the time that the outage took: their deadlines move by `shift_ms` here, and in the
ledger when it applies the `recover` event that the commit writes.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from gateway.inventory.catalog import PartitionBounds, load_config
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import (
    ADJUSTMENT_KEYS_MAX,
    ClosedEpoch,
    RestoreBegin,
    RestoreChunk,
    RestoreCommit,
    RestoreEntry,
    RestoreStage,
    nested,
)
from gateway.process.ledger_identity import LedgerIdentity, identity_of
from reconciler.comparing.ledger_records import (
    FACTS,
    NO_CALL_KEYS,
    CallKeys,
    record_of,
    token_of,
)
from reconciler.context import QUERIES

# A chunk costs Redis some milliseconds and a sync of the disk: chunks of half the size would need
# twice as many syncs.
CHUNK_RECORDS = 1000
# Chunks sent and not answered yet. Other callers wait behind them; with two, a rebuild takes a
# sixth longer.
CHUNKS_UNDER_WAY = 4
PAGE_ROWS = 2000
READ_TIMEOUT_SECONDS = 120.0

_log = structlog.get_logger()
_BY_ID = itemgetter(0)
_EXTENDED_MS = 7  # the place of this column in `rebuild_records`

LedgerConnection = asyncpg.Connection | PoolConnectionProxy


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild: in the server run `run_id`, under `epoch`, of the state the ledger `closed` the
    epoch before with. `closed_epochs`: what the partition is to remember.
    `ledger`: the ledger that closed it.
    """

    partition: PartitionId
    run_id: str
    epoch: int
    closed: Position
    shift_ms: int
    closed_epochs: tuple[ClosedEpoch, ...] = ()
    ledger: LedgerIdentity | None = None


async def rebuild(
    ledger: asyncpg.Pool, store: ReservationStore, bounds: PartitionBounds, plan: Rebuild
) -> int:
    """Rebuild and reopen the partition; returns how many reservations it has.

    Raises Recovering when a newer epoch has begun elsewhere or what is in Redis at the end is not
    what was sent, and whatever a lost server raises: begin again.
    """
    began = time.monotonic()
    async with (
        ledger.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if identity_of(connection) != plan.ledger:
            raise Recovering(f"{plan.partition}: another ledger closed the epoch")
        place = (plan.partition.sale_id, plan.partition.number)
        state, begin = await _begin(connection, bounds, plan.partition)
        if await _stage(store, plan, begin, {"begun", "already"}) == "already":
            return 0
        waited = await _send(store, plan, _chunks(connection, plan, len(begin.counters)))
        counts = await connection.fetchrow(
            QUERIES["rebuild_counts"], *place, timeout=READ_TIMEOUT_SECONDS
        )
    if counts is None:
        raise Recovering(f"{plan.partition}: the ledger counts nothing")
    commit = RestoreCommit(
        reservations=counts["reservations"],
        active_holds=counts["active_holds"],
        closed_epoch=plan.closed.epoch,
        closed_sequence=plan.closed.sequence,
        state=state,
        shift_ms=plan.shift_ms,
        closed_epochs=plan.closed_epochs,
    )
    await _stage(store, plan, commit, {"restored", "already"})
    _log.warning(
        "partition_rebuilt",
        partition=str(plan.partition),
        epoch=plan.epoch,
        reservations=counts["reservations"],
        shift_ms=plan.shift_ms,
        seconds=round(time.monotonic() - began, 3),
        redis_wait_seconds=round(waited, 3),
    )
    return int(counts["reservations"])


async def _stage(
    store: ReservationStore, plan: Rebuild, stage: RestoreStage, expected: set[str]
) -> str:
    word = await store.restore(
        plan.partition, plan.epoch, stage, at_run=plan.run_id, by=plan.ledger
    )
    if word not in expected:
        raise Recovering(f"{plan.partition}: restore under epoch {plan.epoch} answered {word}")
    return word


async def _begin(
    connection: LedgerConnection, bounds: PartitionBounds, partition: PartitionId
) -> tuple[str, RestoreBegin]:
    sale = await connection.fetchrow(QUERIES["rebuild_sale"], partition.sale_id)
    if sale is None:
        raise Recovering(f"{partition}: the ledger has no such sale")
    paused = frozenset(
        row["sku"] for row in await connection.fetch(QUERIES["paused_items"], partition.sale_id)
    )
    place = (partition.sale_id, partition.number)
    accounts = await connection.fetch(QUERIES["rebuild_accounts"], *place)
    newest = await connection.fetch(
        QUERIES["adjustments"], *place, ADJUSTMENT_KEYS_MAX, timeout=READ_TIMEOUT_SECONDS
    )
    spec = msgspec.json.decode(sale["spec"], type=SaleSpec)
    config = load_config(spec, partition, bounds, paused)
    counters = tuple(tuple(account.values()) for account in accounts)
    adjustments = tuple(chain.from_iterable(reversed(newest)))
    return sale["state"], RestoreBegin(msgspec.Raw(config), counters, adjustments)


async def _send(
    store: ReservationStore, plan: Rebuild, chunks: AsyncIterator[RestoreChunk]
) -> float:
    """Send all chunks, in any order, CHUNKS_UNDER_WAY at a time while the next are read.
    Returns the seconds that were spent waiting for Redis.
    """
    under_way: deque[asyncio.Task[str]] = deque()
    waited = 0.0
    try:
        async for chunk in chunks:
            if len(under_way) == CHUNKS_UNDER_WAY:
                full = time.monotonic()
                await under_way.popleft()
                waited += time.monotonic() - full
            under_way.append(asyncio.create_task(_stage(store, plan, chunk, {"stored"})))
        while under_way:
            await under_way.popleft()
        return waited
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _chunks(
    connection: LedgerConnection, plan: Rebuild, accounts: int
) -> AsyncIterator[RestoreChunk]:
    place = (plan.partition.sale_id, plan.partition.number)
    rows = await connection.fetch(QUERIES["return_keys"], *place, timeout=READ_TIMEOUT_SECONDS)
    of_returns = _by_id(rows)
    entries: list[RestoreEntry] = []
    async for page in _pages(connection, place, accounts):
        of_extensions = await _extend_keys(connection, plan.partition.sale_id, page)
        for reservation_id, own in groupby(page, _BY_ID):
            keys = NO_CALL_KEYS
            if of_returns or of_extensions:
                keys = CallKeys(
                    of_returns.get(reservation_id, ()), of_extensions.get(reservation_id, ())
                )
            entries.append(_entry(plan, list(own), keys))
            if len(entries) == CHUNK_RECORDS:
                yield RestoreChunk.of(entries)
                entries = []
    if entries:
        yield RestoreChunk.of(entries)


async def _extend_keys(
    connection: LedgerConnection, sale_id: str, page: list[asyncpg.Record]
) -> Mapping[str, tuple[str, ...]]:
    """The keys of the page's reservations; asks only where any of them was extended."""
    extended = list({row[0] for row in page if row[_EXTENDED_MS]})
    if not extended:
        return {}
    return _by_id(
        await connection.fetch(
            QUERIES["extend_keys"], sale_id, extended, timeout=READ_TIMEOUT_SECONDS
        )
    )


def _by_id(rows: list[asyncpg.Record]) -> Mapping[str, tuple[str, ...]]:
    return {row["reservation_id"]: tuple(row["keys"]) for row in rows}


async def _pages(
    connection: LedgerConnection, place: tuple[str, int], accounts: int
) -> AsyncIterator[list[asyncpg.Record]]:
    """Pages of rows; the rows of a reservation are on one page. A reservation has at most one
    line for each account, so with a single account the order of rows does not matter.
    """
    records = QUERIES["rebuild_records"]
    if accounts == 1:
        await connection.execute(QUERIES["read_as_stored"])
    else:
        await connection.execute(QUERIES["read_in_order"])
        records += QUERIES["rebuild_in_order"]
    cursor = await connection.cursor(records, *place, timeout=READ_TIMEOUT_SECONDS)
    rest: list[asyncpg.Record] = []
    while page := await cursor.fetch(PAGE_ROWS, timeout=READ_TIMEOUT_SECONDS):
        rows = [*rest, *page]
        cut = len(rows) - 1
        while cut and rows[cut - 1][0] == rows[-1][0]:
            cut -= 1
        rest = rows[cut:]
        yield rows[:cut]
    yield rest


def _entry(plan: Rebuild, rows: list[asyncpg.Record], keys: CallKeys) -> RestoreEntry:
    first = rows[0]
    shift_ms = plan.shift_ms if first[1] == "held" else 0
    lines = [row[FACTS : FACTS + 4] for row in rows]
    token = token_of(plan.partition, first[0])
    record = record_of(first, lines, shift_ms, keys)
    return token, nested(record), first[-2], first[-1] or 0
