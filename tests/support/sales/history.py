"""A partition's history written by hand, and a writer to feed it to, for tests of the ledger."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import msgspec
from redis.asyncio import Redis

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.redis.outbox import create_reader
from order_writer.ledger.statements import open_pool
from order_writer.letters.replay import Replay
from order_writer.log.event_log import EventLog, LogEntry
from order_writer.log.outbox import Outbox
from order_writer.log.outbox_log import OutboxLog
from order_writer.metrics import WriterMetrics
from order_writer.writing.known_ledger import KnownLedger
from order_writer.writing.watch import Watch
from order_writer.writing.writer import Writer

START_MS = 1_790_000_000_000
HOLD_MS = 600_000
UNITS = 100
SKU = "shoe"


@dataclass(slots=True)
class History:
    """Events of one partition; each method appends the next one and returns its entry."""

    partition: PartitionId
    epoch: int = 1
    sequence: int = 0
    entries: list[LogEntry] = field(default_factory=list)

    def reservation_id(self, buyer: str) -> str:
        """The one reservation of a buyer here."""
        return f"{self.partition.sale_id}.{self.partition.number}.{buyer:_<22}"

    def event(self, kind: str, **fields: object) -> LogEntry:
        """Any event, sound or not."""
        self.sequence += 1
        place = f"{self.partition}:{self.epoch}-{self.sequence}"
        body = {
            "v": 1, "type": kind, "event_id": place, "sale_id": self.partition.sale_id,
            "partition": self.partition.number, "epoch": self.epoch, "sequence": self.sequence,
            "occurred_at": START_MS + 1000 * len(self.entries), **fields,
        }  # fmt: skip
        return self._append(msgspec.json.encode(body))

    def garbage(self, raw: bytes) -> LogEntry:
        """An entry with a number and bytes that are no event."""
        self.sequence += 1
        return self._append(raw)

    def load(self, units: int = UNITS) -> LogEntry:
        account = {
            "sku": SKU, "location": "default", "units": units, "unit_price": 100, "limit": 10,
            "floor": 0,
        }  # fmt: skip
        return self.event(
            "load", accounts=[account], hold_ms=HOLD_MS, extension_ms=HOLD_MS, opens_at=0,
            closes_at=0, split=False,
        )  # fmt: skip

    def set_state(self, to: str, *, sku: str | None = None) -> LogEntry:
        return self.event("set_state", **{"from": "open"}, to=to, sku=sku, actor="ops")

    def reserve(self, buyer: str, quantity: int = 1, **changes: object) -> LogEntry:
        deadline = START_MS + 1000 * len(self.entries) + HOLD_MS
        fields: dict[str, object] = {"fingerprint": "f" * 22, "deadline": deadline, **changes}
        return self._of(buyer, "reserve", quantity, **fields)

    def confirm(self, buyer: str, quantity: int = 1, released: int = 0) -> LogEntry:
        lines = self._lines(released) if released else []
        return self._of(
            buyer, "confirm", quantity, released=lines, payment_reference=f"pay-{buyer}"
        )

    def cancel(self, buyer: str, quantity: int = 1) -> LogEntry:
        return self._of(buyer, "cancel", quantity, actor=buyer)

    def expire(self, buyer: str, quantity: int = 1) -> LogEntry:
        return self._of(buyer, "expire", quantity)

    def extend(self, buyer: str, quantity: int = 1, *, extended_ms: int = 60_000) -> LogEntry:
        deadline = START_MS + HOLD_MS + extended_ms
        return self._of(buyer, "extend", quantity, deadline=deadline, extended_ms=extended_ms)

    def return_units(self, buyer: str, quantity: int = 1, *, restock: bool = True) -> LogEntry:
        return self._of(
            buyer, "return_units", quantity, restock=restock, reason="too small",
            return_key="k" * 22, fingerprint="r" * 22,
        )  # fmt: skip

    def adjust(self, delta: int, *, sku: str = SKU) -> LogEntry:
        return self.event(
            "adjust", sku=sku, location="default", delta=delta, reason="count", actor="ops"
        )

    def recover(self, epoch: int, previous: Position | None = None, shift_ms: int = 0) -> LogEntry:
        closed = previous or Position(self.epoch, self.sequence)
        self.epoch, self.sequence = epoch, 0
        return self.event("recover", previous=closed, shift_ms=shift_ms, restored=False)

    def rebase(self, ahead_ms: int) -> LogEntry:
        return self.event("rebase", shift_ms=-ahead_ms)

    def _of(self, buyer: str, kind: str, quantity: int, **fields: object) -> LogEntry:
        common = {
            "reservation_id": self.reservation_id(buyer),
            "buyer_id": buyer,
            "lines": self._lines(quantity),
        }
        return self.event(kind, **{**common, **fields})

    def _lines(self, quantity: int) -> list[dict[str, object]]:
        return [{"sku": SKU, "location": "default", "quantity": quantity, "unit_price": 100}]

    def _append(self, raw: bytes) -> LogEntry:
        entry = LogEntry(self.partition, Position(self.epoch, self.sequence), raw)
        self.entries.append(entry)
        return entry


def everything(history: History) -> None:
    """One of each kind of event, and the ways of a reservation."""
    history.load()
    history.set_state("open")
    for buyer in ("ann", "bob", "cid", "dee", "eve", "fay"):
        history.reserve(buyer, 2)
    history.confirm("ann", 2)
    history.cancel("bob", 2)
    history.expire("cid", 2)
    history.extend("dee", 2)
    history.set_state("paused", sku=SKU)
    history.confirm("dee", 1, released=1)
    history.return_units("ann", 1)
    history.return_units("ann", 1, restock=False)
    history.adjust(-5)
    history.adjust(15)
    history.reserve("gus", 3)
    history.extend("gus", 3)


TABLES = {
    "watermarks": "epoch, sequence, fingerprint, event_time, log_offsets, stopped_reason",
    "ledger_events": "epoch, sequence, type, reservation_id, occurred_at, fingerprint, payload",
    "reservations": "*",
    "order_lines": "*",
    "order_events": "*",
    "stock_accounts": "*",
    "sale_items": "*",
    "dead_letters": "identity, reason, status, raw",
}


@dataclass(frozen=True, slots=True)
class Rig:
    """A writer on this test's servers, and ways to look at what it wrote."""

    writer: Writer
    replay: Replay
    watch: Watch
    ledger: asyncpg.Connection
    redis: Redis

    async def open_sale(self, sale_id: str, partitions: int = 1) -> list[History]:
        """A sale of UNITS in each partition, in the ledger; and an empty history of each."""
        await self.ledger.execute(
            "INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key)"
            " VALUES ($1, 'open', '{}', $2, 'EUR', $3)",
            sale_id, partitions, b"k" * 32,
        )  # fmt: skip
        await self.ledger.execute(
            "INSERT INTO sale_items (sale_id, sku, position, name, price_amount, per_buyer_limit,"
            " floor) VALUES ($1, $2, 1, 'Shoe', 100, 10, 0)",
            sale_id, SKU,
        )  # fmt: skip
        for number in range(partitions):
            await self.ledger.execute(
                "INSERT INTO watermarks (sale_id, partition, epoch, sequence)"
                " VALUES ($1, $2, 1, 0)",
                sale_id, number,
            )  # fmt: skip
            await self.ledger.execute(
                "INSERT INTO stock_accounts (sale_id, partition, sku, location, position, floor,"
                " loaded, available) VALUES ($1, $2, $3, 'default', 1, 0, $4, $4)",
                sale_id, number, SKU, UNITS,
            )  # fmt: skip
        return [History(PartitionId(sale_id, number)) for number in range(partitions)]

    async def close_epoch(self, history: History, next_epoch: int) -> None:
        """Record in the ledger that the history's epoch ends at its present position."""
        await self.ledger.execute(
            "INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, next_epoch)"
            " VALUES ($1, $2, $3, $4, $5)",
            history.partition.sale_id, history.partition.number, history.epoch, history.sequence,
            next_epoch,
        )  # fmt: skip

    async def put(self, entries: Iterable[LogEntry]) -> None:
        """Append entries to the outbox, as the scripts would."""
        for entry in entries:
            identifier = f"{entry.position.epoch}-{entry.position.sequence}"
            await self.redis.xadd(outbox_key(entry.partition), {"event": entry.raw}, id=identifier)

    async def position(self, history: History) -> Position:
        """The watermark."""
        row = await self.ledger.fetchrow(
            "SELECT epoch, sequence FROM watermarks WHERE sale_id = $1 AND partition = $2",
            history.partition.sale_id, history.partition.number,
        )  # fmt: skip
        assert row is not None
        return Position(row["epoch"], row["sequence"])

    async def stopped(self, history: History) -> str | None:
        """Why the partition is stopped, if it is."""
        reason: str | None = await self.ledger.fetchval(
            "SELECT stopped_reason FROM watermarks WHERE sale_id = $1 AND partition = $2",
            history.partition.sale_id, history.partition.number,
        )  # fmt: skip
        return reason

    async def account(self, history: History) -> tuple[int, int, int, int]:
        """(adjusted, available, held, sold)."""
        row = await self.ledger.fetchrow(
            "SELECT adjusted, available, held, sold FROM stock_accounts"
            " WHERE sale_id = $1 AND partition = $2",
            history.partition.sale_id, history.partition.number,
        )  # fmt: skip
        assert row is not None
        return row["adjusted"], row["available"], row["held"], row["sold"]

    async def state_of(self, history: History, buyer: str) -> str | None:
        """State of a buyer's reservation."""
        state: str | None = await self.ledger.fetchval(
            "SELECT state FROM reservations WHERE reservation_id = $1",
            history.reservation_id(buyer),
        )
        return state

    async def letters(self) -> list[tuple[int | None, str, str]]:
        """(sequence, reason, status) of every dead letter."""
        rows = await self.ledger.fetch(
            "SELECT sequence, reason, status FROM dead_letters ORDER BY epoch, sequence"
        )
        return [(row["sequence"], row["reason"], row["status"]) for row in rows]

    async def dump(self) -> dict[str, list[str]]:
        """Every row the writer is responsible for, as text in a stable order."""
        return {
            table: sorted(
                repr(tuple(row))
                for row in await self.ledger.fetch(f"SELECT {columns} FROM {table}")  # noqa: S608
            )
            for table, columns in TABLES.items()
        }


@asynccontextmanager
async def open_rig(
    settings: Settings, *, log: EventLog | None = None, batch_max_events: int = 2000
) -> AsyncIterator[Rig]:
    """A writer that reads the outbox unless it is given another log."""
    pool = await open_pool(settings.postgres, size=2)
    reader = create_reader(settings.redis)
    used = log or OutboxLog(
        create_reader(settings.redis, connections=1),
        block_seconds_limit=settings.redis.socket_timeout_seconds,
    )
    outbox = Outbox(reader)
    writer = Writer(
        pool=pool,
        ledger=KnownLedger(pool, outbox, used),
        outbox=outbox,
        log=used,
        metrics=WriterMetrics(),
        stop=asyncio.Event(),
        batch_max_events=batch_max_events,
    )
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        yield Rig(writer, Replay(writer), Watch(writer), ledger, reader)
    finally:
        await used.close()
        await reader.aclose()
        await ledger.close()
        await pool.close()
