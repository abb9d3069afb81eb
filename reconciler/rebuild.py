"""Rebuilds a partition in Redis from the ledger: begin (clears), chunks, commit.

May be begun again after a crash at any step; until the commit the partition answers nobody. Holds
that were active get the time back that the outage took: their deadlines move by `shift_ms`
here, and in the ledger when it applies the `recover` event that the commit writes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from gateway.inventory.catalog import PartitionBounds, load_config
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, parse_reservation_id
from gateway.inventory.queries import Queries
from gateway.inventory.specs import SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import (
    ConfirmedRecord,
    Record,
    ReservationState,
    RestoreBegin,
    RestoreChunk,
    RestoreCommit,
    RestoreEntry,
    RestoreStage,
    ReturnedRecord,
)

CHUNK_RECORDS = 1000
READ_TIMEOUT_SECONDS = 120.0

_sql = Queries(Path(__file__).parent / "sql" / "rebuild.sql")
_log = structlog.get_logger()
_STATES = {state.name.lower(): state for state in ReservationState}

LedgerConnection = asyncpg.Connection | PoolConnectionProxy


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild: in the server run `run_id`, under `epoch`, of the state the ledger `closed` the
    epoch before with.
    """

    partition: PartitionId
    run_id: str
    epoch: int
    closed: Position
    shift_ms: int


async def rebuild(
    ledger: asyncpg.Pool, store: ReservationStore, bounds: PartitionBounds, plan: Rebuild
) -> int:
    """Rebuild and reopen the partition; returns how many reservations it has.

    Raises Recovering when a newer epoch has begun elsewhere or what is in Redis at the end is not
    what was sent, and whatever a lost server raises: begin again.
    """
    async with (
        ledger.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        place = (plan.partition.sale_id, plan.partition.number)
        state, begin = await _begin(connection, bounds, plan.partition)
        if await _stage(store, plan, begin, {"begun", "already"}) == "already":
            return 0
        async for chunk in _chunks(connection, plan):
            await _stage(store, plan, chunk, {"stored"})
        counts = await connection.fetchrow(_sql["counts"], *place, timeout=READ_TIMEOUT_SECONDS)
    if counts is None:
        raise Recovering(f"{plan.partition}: the ledger counts nothing")
    commit = RestoreCommit(
        reservations=counts["reservations"],
        active_holds=counts["active_holds"],
        closed_epoch=plan.closed.epoch,
        closed_sequence=plan.closed.sequence,
        state=state,
        shift_ms=plan.shift_ms,
    )
    await _stage(store, plan, commit, {"restored", "already"})
    _log.warning(
        "partition_rebuilt",
        partition=str(plan.partition),
        epoch=plan.epoch,
        reservations=counts["reservations"],
        shift_ms=plan.shift_ms,
    )
    return int(counts["reservations"])


async def _stage(
    store: ReservationStore, plan: Rebuild, stage: RestoreStage, expected: set[str]
) -> str:
    word = await store.restore(plan.partition, plan.epoch, stage, at_run=plan.run_id)
    if word not in expected:
        raise Recovering(f"{plan.partition}: restore under epoch {plan.epoch} answered {word}")
    return word


async def _begin(
    connection: LedgerConnection, bounds: PartitionBounds, partition: PartitionId
) -> tuple[str, RestoreBegin]:
    sale = await connection.fetchrow(_sql["sale"], partition.sale_id)
    if sale is None:
        raise Recovering(f"{partition}: the ledger has no such sale")
    paused = frozenset(
        row["sku"] for row in await connection.fetch(_sql["paused_items"], partition.sale_id)
    )
    accounts = await connection.fetch(_sql["accounts"], partition.sale_id, partition.number)
    spec = msgspec.json.decode(sale["spec"], type=SaleSpec)
    config = load_config(spec, partition, bounds, paused)
    counters = tuple(tuple(account.values()) for account in accounts)
    return sale["state"], RestoreBegin(msgspec.Raw(config), counters)


async def _chunks(connection: LedgerConnection, plan: Rebuild) -> AsyncIterator[RestoreChunk]:
    place = (plan.partition.sale_id, plan.partition.number)
    rows = await connection.fetch(_sql["return_keys"], *place, timeout=READ_TIMEOUT_SECONDS)
    return_keys = {row["reservation_id"]: tuple(row["keys"]) for row in rows}
    cursor = await connection.cursor(_sql["records"], *place, timeout=READ_TIMEOUT_SECONDS)
    while page := await cursor.fetch(CHUNK_RECORDS, timeout=READ_TIMEOUT_SECONDS):
        yield RestoreChunk(
            tuple(_entry(row, plan.shift_ms, return_keys.get(row[0], ())) for row in page)
        )


def _entry(row: asyncpg.Record, shift_ms: int, return_keys: tuple[str, ...]) -> RestoreEntry:
    record = record_of(row, _deadline(row, shift_ms), return_keys)
    return record if row["admission"] is None else (*record, row["admission"])


def _deadline(row: asyncpg.Record, shift_ms: int) -> int:
    return int(row["deadline_ms"]) + (shift_ms if row["state"] == "held" else 0)


def record_of(
    row: asyncpg.Record, deadline: int, return_keys: tuple[str, ...]
) -> tuple[str, Record]:
    """The record as lua/include/record.lua has it, behind its token; `deadline` is on the
    partition's clock.
    """
    identifier = parse_reservation_id(row["reservation_id"])
    if identifier is None:
        raise Recovering(f"{row['reservation_id']} is no reservation id")
    state = _STATES[row["state"]]
    amounts = row["confirmed"] if state is ReservationState.CONFIRMED else row["quantities"]
    facts = (
        state.value,
        row["last_epoch"],
        row["last_sequence"],
        row["accepted_epoch"],
        row["accepted_sequence"],
        deadline,
        row["extended_ms"],
        row["buyer_id"],
        row["fingerprint"],
        _flat(row["accounts"], amounts),
    )
    if row["payment_reference"] is None:
        return identifier.token, Record(*facts)
    if not return_keys:
        return identifier.token, ConfirmedRecord(*facts, row["payment_reference"])
    returned = _flat(row["accounts"], row["returned"])
    return identifier.token, ReturnedRecord(*facts, row["payment_reference"], returned, return_keys)


def _flat(accounts: list[int], amounts: list[int]) -> tuple[int, ...]:
    """{account, quantity, ...} without the empty ones."""
    pairs = zip(accounts, amounts, strict=True)
    return tuple(value for pair in pairs if pair[1] > 0 for value in pair)
