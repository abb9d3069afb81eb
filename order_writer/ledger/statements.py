"""The ledger's side of a batch: one transaction that locks, reads and writes, set by set.

Every count of changed rows is compared with what the fold asked for: a resolve that meets no
reservation in the right state is an IntegrityViolation, and the transaction leaves no trace.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from config.queries import Queries
from config.settings import PostgresSettings
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.process.postgres import Guard, create_pool
from order_writer.folding.errors import IntegrityViolation
from order_writer.folding.items import Item
from order_writer.folding.plan import ClosedEpoch
from order_writer.folding.rows import (
    Folded,
    LedgerRow,
    LineChange,
    LineRow,
    ReservationChange,
    ReservationRow,
    ShiftRow,
    columns,
)
from order_writer.log.event_log import LogOffset, Watermark

QUERIES = Queries(Path(__file__).parent / "sql" / "queries.sql")
_decode_offsets = msgspec.json.Decoder(dict[str, int]).decode

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
NamedRow = LedgerRow | ReservationRow | LineRow
# Rows are found by key: no plan reads a table whole because it has no statistics of it yet.
_BY_KEY = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01 in milliseconds since 1970


async def open_pool(
    settings: PostgresSettings, *, size: int, guard: Guard | None = None
) -> asyncpg.Pool:
    """A pool whose connections are prepared for these statements; `guard` as in `create_pool`."""
    return await create_pool(
        settings, size=size, prepare=prepare, server_settings=_BY_KEY, guard=guard
    )


async def prepare(connection: Connection) -> None:
    """Let the connection take instants as milliseconds since 1970; once for each connection."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_milliseconds,
        format="tuple",
    )  # fmt: skip


async def lock_watermarks(
    connection: Connection, partitions: Collection[PartitionId]
) -> dict[PartitionId, Watermark]:
    """The watermarks of those partitions that exist, locked until the transaction ends."""
    rows = await connection.fetch(QUERIES["lock_watermarks"], *_keys(partitions))
    marks = {}
    for row in rows:
        partition = PartitionId(row["sale_id"], row["partition"])
        marks[partition] = Watermark(
            partition,
            Position(row["epoch"], row["sequence"]),
            offsets_of(row["log_offsets"]),
            stopped_reason=row["stopped_reason"],
        )
    return marks


def offsets_of(stored: str) -> tuple[LogOffset, ...]:
    """watermarks.log_offsets, parsed."""
    return tuple(LogOffset(place, number) for place, number in _decode_offsets(stored).items())


async def closed_epochs(
    connection: Connection, partitions: Collection[PartitionId]
) -> dict[PartitionId, dict[int, ClosedEpoch]]:
    """The closed epochs of the partitions, by number."""
    closed: dict[PartitionId, dict[int, ClosedEpoch]] = {key: {} for key in partitions}
    for row in await connection.fetch(QUERIES["closed_epochs"], *_keys(partitions)):
        epochs = closed[PartitionId(row["sale_id"], row["partition"])]
        epochs[row["epoch"]] = ClosedEpoch(row["last_sequence"], row["next_epoch"])
    return closed


async def waiting_reservations(
    connection: Connection, partitions: Collection[PartitionId]
) -> set[str]:
    """Reservations whose later events wait behind a dead letter."""
    rows = await connection.fetch(QUERIES["waiting_reservations"], *_keys(partitions))
    return {row["reservation_id"] for row in rows}


async def contradicted(connection: Connection, items: Sequence[Item]) -> list[Item]:
    """Items at or below the watermark whose number has another event in the history."""
    rows = [
        (
            item.entry.partition.sale_id, item.entry.partition.number, item.entry.position.epoch,
            item.entry.position.sequence, item.fingerprint,
        )
        for item in items
        if item.event is not None
    ]  # fmt: skip
    if not rows:
        return []
    found = {tuple(row) for row in await connection.fetch(QUERIES["contradicted"], *columns(rows))}
    numbered = {row[:4]: item for row, item in zip(rows, _readable(items), strict=True)}
    return [numbered[key] for key in sorted(found)]


async def write(connection: Connection, folded: Folded, *, replayed: bool = False) -> None:
    """Store what was folded; `replayed` events take the void numbers that were held for them."""
    if folded.loaded:
        unequal = await connection.fetchval(QUERIES["unequal_accounts"], *columns(folded.loaded))
        if unequal:
            raise IntegrityViolation("loaded with other stock than the ledger opened it with")
    blocks = await _blocks(connection, folded)
    # Deadlines move before this batch's own holds are added, which are on the moved clock already.
    await _change(connection, "shift_deadlines", folded.shifts, blocks, counted=False)
    if replayed:
        await _change(connection, "fill_void", folded.ledger, blocks)
    else:
        await _add(connection, "ledger_events", folded.ledger, blocks)
    await _add(connection, "reservations", folded.reservations, blocks)
    await _change(connection, "change_reservations", folded.changes, blocks)
    await _add(connection, "order_lines", folded.lines, blocks)
    await _change(connection, "change_order_lines", folded.line_changes, blocks)
    await _write(connection, "change_accounts", folded.accounts)
    await _write(connection, "pause_items", folded.paused)
    await _write(connection, "insert_dead_letters", folded.dead, counted=False)


async def advance(connection: Connection, folded: Folded) -> None:
    """Move the watermarks to the last item of each run."""
    await _write(connection, "advance_watermarks", folded.marks)


async def stop_partitions(connection: Connection, reasons: dict[PartitionId, str]) -> None:
    """Stop partitions, each with its reason; a partition keeps its first reason."""
    if reasons:
        rows = [(key.sale_id, key.number, reason) for key, reason in sorted(reasons.items())]
        await connection.execute(QUERIES["stop_partitions"], *columns(rows))


async def followed(connection: Connection) -> list[Watermark]:
    """Every partition of a sale that is not settled, with its watermark."""
    return [mark_of(row) for row in await connection.fetch(QUERIES["followed_partitions"])]


def mark_of(row: asyncpg.Record) -> Watermark:
    """The watermark in a row of `followed_partitions`."""
    return Watermark(
        PartitionId(row["sale_id"], row["partition"]),
        Position(row["epoch"], row["sequence"]),
        offsets_of(row["log_offsets"]),
        row["fingerprint"],
        row["stopped_reason"],
    )


async def _blocks(connection: Connection, folded: Folded) -> dict[str, int]:
    """The block of the large tables that each sale's rows lie in, by sale id."""
    tables = (folded.ledger, folded.shifts, folded.changes)
    sales = {row.sale_id for rows in tables for row in rows}
    if not sales:
        return {}
    rows = await connection.fetch(QUERIES["blocks"], list(sales))
    return {row["sale_id"]: row["block"] for row in rows}


async def _add(
    connection: Connection, table: str, rows: Sequence[NamedRow], blocks: dict[str, int]
) -> None:
    """Rows that are new, as the plan has proven, or the table's key refuses them.

    In binary: half the work of sending arrays, here and in Postgres.
    """
    if not rows:
        return
    try:
        await connection.copy_records_to_table(
            table,
            records=[(*row, blocks[row.sale_id]) for row in rows],
            columns=(*rows[0]._fields, "block"),
        )
    except (ValueError, OverflowError) as error:
        # The client could not even send a value: out of range for its column, or no valid text.
        raise IntegrityViolation(f"{table}: {error}") from error


async def _change(
    connection: Connection,
    name: str,
    rows: Sequence[LedgerRow | ShiftRow | ReservationChange | LineChange],
    blocks: dict[str, int],
    *,
    counted: bool = True,
) -> None:
    """Change rows that exist in the large tables, block by block."""
    own: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        own.setdefault(blocks[row.sale_id], []).append(row)
    for block, placed in sorted(own.items()):
        await _execute(connection, name, QUERIES[name].format(block=block), placed, counted=counted)


async def _write(
    connection: Connection, name: str, rows: Sequence[tuple[Any, ...]], *, counted: bool = True
) -> None:
    if rows:
        await _execute(connection, name, QUERIES[name], rows, counted=counted)


async def _execute(
    connection: Connection,
    name: str,
    query: str,
    rows: Sequence[tuple[Any, ...]],
    *,
    counted: bool,
) -> None:
    status = await connection.execute(query, *columns(rows))
    if counted:
        _require(name, status, rows)


def _require(name: str, status: str, rows: Sequence[object]) -> None:
    """Raise IntegrityViolation where fewer rows were changed than the fold asked for."""
    changed = int(status.rpartition(" ")[2])
    if changed != len(rows):
        raise IntegrityViolation(f"{name}: {changed} rows of {len(rows)}")


def _microseconds(instant_ms: int) -> tuple[int]:
    """An instant as Postgres stores it: microseconds since 2000."""
    return ((instant_ms - _POSTGRES_EPOCH_MS) * 1000,)


def _milliseconds(stored: tuple[int]) -> int:
    return stored[0] // 1000 + _POSTGRES_EPOCH_MS


def _readable(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.event is not None]


def _keys(partitions: Collection[PartitionId]) -> tuple[list[str], list[int]]:
    return [key.sale_id for key in partitions], [key.number for key in partitions]
