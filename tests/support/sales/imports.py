"""A sale whose ledger comes back older, with an outbox that no longer has what is missing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.types import ClosedEpoch
from gateway.process.ledger_identity import identity_of
from gateway.process.ledger_run import ledger_run
from order_writer.folding.items import decode_items
from order_writer.importing.importing import Imported, Sources, import_partition
from order_writer.importing.missing import START
from order_writer.ledger.statements import open_pool
from order_writer.ledger.transaction import apply_items
from order_writer.log.event_log import LogEntry
from order_writer.log.outbox import Outbox
from reconciler.comparing.compare import CompareConfig, compare_partition
from reconciler.comparing.differences import Difference
from reconciler.context import Context, open_context
from reconciler.rebuilding.rebuild import Rebuild, rebuild
from tests.support.sales.judged_sale import JudgedSale
from tests.support.sales.older_ledger import back_up, put_back
from tests.support.sales.partitions import BOUNDS
from tests.support.sales.random_history import RandomHistory

PATIENT = CompareConfig(page_records=5)
MOST_EVENTS = 10_000
NOWHERE = "gap: nowhere"


@dataclass
class ImportedSale:
    """The sale, with all that an import needs."""

    sale: JudgedSale
    sources: Sources
    context: Context

    async def position(self) -> Position:
        """The ledger's watermark."""
        row = await self.sale.ledger.fetchrow("SELECT epoch, sequence FROM watermarks")
        assert row is not None
        return Position(row["epoch"], row["sequence"])

    async def entries(self, after: Position = START) -> list[LogEntry]:
        """What the outbox has after a position."""
        return await self.sources.outbox.read(self.sale.partition, after, MOST_EVENTS)

    async def apply(self, entries: list[LogEntry] | None = None) -> None:
        """Apply what the outbox has, or these copies, as the order writer does."""
        if entries is None:
            entries = await self.entries(await self.position())
        waiting = decode_items(entries)
        async with self.sources.pool.acquire() as connection:
            run = await ledger_run(connection)
        while waiting:
            report = await apply_items(self.sources.pool, waiting, run)
            assert (report.stopped, report.gaps, report.dead) == ({}, {}, 0)
            waiting = report.rest.get(self.sale.partition, [])

    async def trim(self) -> None:
        """Drop everything that the ledger has but its last event, as the duty does."""
        await self.sale.store.trim(self.sale.partition, await self.position())

    async def _close_epoch(self) -> tuple[ClosedEpoch, ...]:
        """The ledger has everything and closes the epoch; returns all that it has closed."""
        await self.apply()
        ledger = self.sale.ledger
        await ledger.execute(
            "INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, "
            "next_epoch) SELECT $1, 0, epoch, sequence, fingerprint, epoch + 1 FROM watermarks",
            self.sale.sale_id,
        )
        rows = await ledger.fetch(
            "SELECT epoch, last_sequence, encode(fingerprint, 'hex') AS fingerprint, next_epoch "
            "FROM closed_epochs ORDER BY epoch"
        )
        return tuple(ClosedEpoch(*row.values()) for row in rows)

    async def next_epoch(self) -> None:
        """Redis goes on with its data under the next epoch."""
        closed, last = await self._close_epoch(), await self.position()
        run_id = await read_run_id(self.sale.redis)
        outcome = await self.sale.store.recover(
            self.sale.partition, last.epoch + 1, last, 0, closed, at_run=run_id
        )
        assert outcome == "recovered"

    async def rebuild(self) -> None:
        """Redis loses its data, and is rebuilt from the ledger under the next epoch."""
        closed, last = await self._close_epoch(), await self.position()
        await self.sale.redis.flushall()
        run_id = await read_run_id(self.sale.redis)
        async with self.context.ledger.acquire() as connection:
            ledger = identity_of(connection)
        partition = self.sale.partition
        plan = Rebuild(partition, run_id, last.epoch + 1, last, 0, closed, ledger)
        await rebuild(self.context.ledger, self.sale.store, BOUNDS, plan)

    async def lose(self) -> None:
        """Put the ledger back as it was kept; the writer has stopped at the gap."""
        await put_back(self.sale.ledger)
        await self.stop()

    async def forget_everything(self) -> None:
        """The ledger is as it was when the sale had just been opened; the writer has stopped."""
        await self.sale.execute(
            "ALTER TABLE ledger_events DISABLE TRIGGER USER",
            "ALTER TABLE reservations DISABLE TRIGGER USER",
            "DELETE FROM ledger_events", "DELETE FROM order_lines", "DELETE FROM reservations",
            "UPDATE watermarks SET epoch = 1, sequence = 0, fingerprint = NULL",
            "UPDATE stock_accounts SET adjusted = 0, available = loaded, held = 0, sold = 0",
        )  # fmt: skip
        await self.stop()

    async def stop(self) -> None:
        """As the writer stops where events are nowhere."""
        await self.sale.ledger.execute("UPDATE watermarks SET stopped_reason = $1", NOWHERE)

    async def imported(self) -> Imported:
        """The result of an import, which must find something to do."""
        imported = await import_partition(self.sources, self.sale.partition)
        assert imported is not None
        return imported

    async def differences(self) -> tuple[Difference, ...]:
        """Between Redis and the ledger."""
        return (await compare_partition(self.context, self.sale.partition, PATIENT)).differences

    async def history(
        self, seed: int, *, epochs: int = 0, kept_epochs: int = 0
    ) -> tuple[RandomHistory, list[LogEntry]]:
        """Make an older ledger with a gap. Returns the sale's steps, and the events that are
        missing from the ledger and from the outbox. So many `epochs` begin among these, and
        `kept_epochs` among the events that the outbox still has.
        """
        history = RandomHistory(self.sale, seed)
        await history.steps(40)
        await self.apply()
        await back_up(self.sale.ledger)
        at = await self.position()
        await history.steps(40)
        for _ in range(epochs):
            await self.next_epoch()
            await history.steps(20)
        await self.apply()
        lost = await self.entries(at)
        await self.trim()
        await history.steps(40)
        for _ in range(kept_epochs):
            await self.next_epoch()
            await history.steps(20)
        await self.lose()
        first = (await self.entries())[0].position
        return history, [entry for entry in lost if entry.position < first]


@asynccontextmanager
async def imported_sale(settings: Settings, sale: JudgedSale) -> AsyncIterator[ImportedSale]:
    """The sale with its connections open."""
    pool = await open_pool(settings.postgres, size=2)
    try:
        async with open_context(settings) as context:
            sources = Sources(pool, sale.store, sale.redis, Outbox(sale.redis))
            yield ImportedSale(sale, sources, context)
    finally:
        await pool.close()
