"""Brings a partition's ledger up to date from Redis' own records, in one transaction.

The records are read while the sale goes on, and are as old as the page they came with. A snapshot
of the counters is taken afterwards; the outbox has every event up to it, since nothing is trimmed
while the ledger is older than it once was. So the records, with the events that each lacks folded
over them, are the state at the snapshot's number, to which the watermark moves. Nothing is visible
before the commit, and the watermark is locked for the last statements only: a crash leaves no
trace, and the import begins again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import asyncpg
import msgspec
from redis.asyncio import Redis

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position, event_id
from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Snapshot
from gateway.process.audit import AuditAction
from order_writer.folding.rows import Folded, LedgerRow, columns
from order_writer.importing.accounts import account_rows
from order_writer.importing.errors import ImportRefused
from order_writer.importing.events import Account, Events
from order_writer.importing.missing import Missing, find_missing, outbox_items
from order_writer.importing.queries import QUERIES
from order_writer.importing.reading import Memory, read_memory, scan_admissions, scan_records
from order_writer.importing.staging import BUYER_COLUMNS, RECORD_COLUMNS, Staging
from order_writer.ledger import statements
from order_writer.log.event_log import format_position
from order_writer.log.outbox import Outbox

# Of one statement: a million records are merged in about half a minute.
STATEMENT_SECONDS = 900.0
# Reasons to stop that an import can end.
CURABLE = ("gap:", "epoch_unknown:")
_CARRIED = frozenset({"open", "paused", "closed"})


@dataclass(frozen=True, slots=True)
class Sources:
    """Where both sides are: `store` takes snapshots, `reader` and `outbox` only read."""

    pool: asyncpg.Pool
    store: ReservationStore
    reader: Redis
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: the numbers it replaces, where the ledger is now, how many reservations
    were missing or had changed, and how many records nobody can read.
    """

    missing: Missing
    until: Position
    reservations: int
    unreadable: int


async def import_partition(sources: Sources, partition: PartitionId) -> Imported | None:
    """Import the partition where its ledger has stopped at a gap; None where there is nothing to
    import: it has not stopped, the outbox has all that is missing, or another process is at it.

    Raises ImportRefused, Recovering (begin again later), and what Redis and Postgres raise.
    """
    async with sources.pool.acquire() as connection, connection.transaction():
        await connection.execute(QUERIES["take_time"])
        place = (partition.sale_id, partition.number)
        if not await connection.fetchval(QUERIES["lock_import"], *place):
            return None
        row = await connection.fetchrow(QUERIES["place"], *place)
        if row is None or not (row["stopped_reason"] or "").startswith(CURABLE):
            return None
        return await _Import(sources, connection, partition, row).run()


class _Import:
    """One attempt, in the caller's transaction."""

    def __init__(
        self,
        sources: Sources,
        connection: statements.Connection,
        partition: PartitionId,
        row: asyncpg.Record,
    ) -> None:
        self._sources = sources
        self._connection = connection
        self._partition = partition
        self._place = (partition.sale_id, partition.number)
        self._at = Position(row["epoch"], row["sequence"])
        self._block: int = row["block"]
        self._state: str = row["state"]
        self._has_room = msgspec.json.decode(row["spec"], type=SaleSpec).waiting_room is not None

    async def run(self) -> Imported | None:
        sources, partition = self._sources, self._partition
        first = await sources.store.snapshot(partition)
        read_from = Position(first.epoch, first.sequence)
        memory = await read_memory(sources.reader, partition)
        await self._require_same_history(memory, read_from)
        missing = await find_missing(sources.outbox, partition, self._at, read_from)
        if missing is None:
            return None
        staging = Staging(partition, missing.last, first.shift_ms, len(first.accounts))
        await self._stage(staging)
        last = await sources.store.snapshot(partition)
        if (last.epoch, last.shift_ms) != (first.epoch, first.shift_ms):
            raise Recovering(f"{partition}: the clock or the epoch changed while it was read")
        until = Position(last.epoch, last.sequence)
        returned = await self._returned()
        events = Events(self._connection, partition, self._block, read_from)
        async for items in outbox_items(sources.outbox, partition, missing.last, until):
            await events.store(items)
        changed = await self._merge(missing, staging, memory, last)
        async for items in outbox_items(sources.outbox, partition, missing.last, until):
            await events.fold_over_records(items)
        if self._has_room:
            await self._execute("merge_admissions", *self._place)
        imported = Imported(missing, until, changed, staging.unreadable)
        await self._add_accounts(missing, memory, last, events, returned)
        await self._go_on(imported, memory, last, events)
        return imported

    async def _require_same_history(self, memory: Memory, at: Position) -> None:
        """Raise ImportRefused unless Redis is a later copy of the ledger's own history."""
        remembered = {closed.epoch: closed for closed in memory.closed_epochs}
        rows = await self._connection.fetch(QUERIES["known_closed_epochs"], *self._place)
        forked = [
            row["epoch"]
            for row in rows
            if row["epoch"] in remembered
            and (row["last_sequence"], row["fingerprint"])
            != (remembered[row["epoch"]].last_sequence, remembered[row["epoch"]].fingerprint)
        ]
        here, own = format_position(self._at), remembered.get(self._at.epoch)
        if forked:
            raise ImportRefused(f"epoch {min(forked)} ended elsewhere in the ledger")
        if at <= self._at or (own is not None and own.last_sequence < self._at.sequence):
            raise ImportRefused(f"the ledger is at {here}, which Redis has not reached")

    async def _stage(self, staging: Staging) -> None:
        connection, reader = self._connection, self._sources.reader
        await connection.execute(QUERIES["create_staged"])
        async for page in scan_records(reader, self._partition):
            await connection.copy_records_to_table(
                "staged", records=staging.rows(page), columns=RECORD_COLUMNS
            )
        if self._has_room:
            async for buyers in scan_admissions(reader, self._partition):
                await connection.copy_records_to_table(
                    "staged_buyers", records=buyers, columns=BUYER_COLUMNS
                )
        await connection.execute(QUERIES["index_staged"], timeout=STATEMENT_SECONDS)
        await self._execute("drop_repeats")

    async def _merge(
        self, missing: Missing, staging: Staging, memory: Memory, last: Snapshot
    ) -> int:
        """Records into reservations and lines; returns how many were missing, or had changed."""
        later = await self._fetch("contradicting")
        if later:
            raise ImportRefused(f"the ledger has later events of {later[0]['reservation_id']}")
        number = (missing.last.epoch, missing.last.sequence)
        changed: int = (await self._fetch("count_changed"))[0][0]
        await self._connection.execute(
            QUERIES["add_import"], *self._place, *number, self._at.epoch, self._at.sequence,
            last.epoch, last.sequence, changed, staging.unreadable,
            msgspec.json.encode(memory.adjustments).decode(), last.read_at,
        )  # fmt: skip
        await self._execute("note_imported", *self._place, *number)
        await self._execute("merge_reservations", *self._place, memory.hold_ms, last.read_at)
        await self._execute("merge_lines", *self._place, *number)
        return changed

    async def _returned(self) -> Mapping[Account, int]:
        rows = await self._fetch("returned_units", *self._place)
        return {(row["sku"], row["location"]): row["returned"] for row in rows}

    async def _add_accounts(
        self,
        missing: Missing,
        memory: Memory,
        last: Snapshot,
        events: Events,
        returned_before: Mapping[Account, int],
    ) -> None:
        """The snapshot's counters; what of their change no event explains is the import's."""
        was = {
            (row["sku"], row["location"]): row
            for row in await self._connection.fetch(QUERIES["accounts"], *self._place)
        }
        is_unloaded = self._at == Position(1, 0) and all(
            (closed.epoch, closed.last_sequence) != (1, 0) for closed in memory.closed_epochs
        )
        returned = Counter(await self._returned())
        returned.subtract(returned_before)
        rows = account_rows(last.accounts, was, events, returned, is_unloaded=is_unloaded)
        number = (missing.last.epoch, missing.last.sequence)
        await self._execute(
            "add_import_accounts", *self._place, *number, *columns(rows.unexplained)
        )
        await self._execute("set_accounts", *self._place, *columns(rows.counters))
        await self._execute("set_paused", self._place[0], list(last.paused_skus))

    async def _go_on(
        self, imported: Imported, memory: Memory, last: Snapshot, events: Events
    ) -> None:
        """The import's own row, and the watermark. From here on the partition's rows are locked."""
        sale_id, missing, until = self._place[0], imported.missing, imported.until
        number = (missing.last.epoch, missing.last.sequence)
        row = self._row(imported, last.read_at)
        await statements.write(self._connection, Folded(ledger=[row]))
        if memory.closed_epochs:
            closed = [tuple(msgspec.structs.astuple(each)) for each in memory.closed_epochs]
            await self._execute("add_closed_epochs", *self._place, *columns(closed))
        await self._execute("dismiss_letters", *self._place, *number)
        if last.state in _CARRIED and last.state != self._state:
            await self._execute("set_state", sale_id, last.state)
        at = events.last
        fingerprint = row.fingerprint if at is None else at.fingerprint
        event_time = last.read_at if at is None or at.event is None else at.event.occurred_at
        moved = await self._execute(
            "go_on", *self._place, until.epoch, until.sequence, fingerprint, event_time,
            self._at.epoch, self._at.sequence,
        )  # fmt: skip
        if moved != "UPDATE 1":
            raise Recovering(f"{self._partition}: the ledger has gone on by itself")
        await self._execute("write_audit", sale_id, AuditAction.LEDGER_IMPORT, row.payload)

    def _row(self, imported: Imported, read_at: int) -> LedgerRow:
        """The row of type `import`, which holds the last of the missing numbers."""
        missing, until = imported.missing, imported.until
        last = missing.last
        payload = msgspec.json.encode(
            {
                "v": 1,
                "type": "import",
                "event_id": event_id(*self._place, last),
                "sale_id": self._place[0],
                "partition": self._place[1],
                "epoch": last.epoch,
                "sequence": last.sequence,
                "occurred_at": read_at,
                "after": missing.after,
                "until": until,
                "reservations": imported.reservations,
                "unreadable": imported.unreadable,
            }
        )
        fingerprint = missing.fingerprint or blake2b(payload, digest_size=8).digest()
        return LedgerRow(
            *self._place, last.epoch, last.sequence, "import", None, read_at, fingerprint,
            payload.decode(),
        )  # fmt: skip

    async def _execute(self, name: str, *arguments: Any) -> str:
        query = QUERIES[name].replace("{block}", str(self._block))
        return await self._connection.execute(query, *arguments, timeout=STATEMENT_SECONDS)

    async def _fetch(self, name: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        query = QUERIES[name].replace("{block}", str(self._block))
        return await self._connection.fetch(query, *arguments, timeout=STATEMENT_SECONDS)
