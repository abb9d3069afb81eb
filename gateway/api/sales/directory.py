"""Facts of sales, cached for the request path.

A sale that was ever open never changes its spec, key or partitions again, so its facts stay cached
as long as there is room, also while Postgres is down; after a NOTIFY the next request reads the
sale's state anew. A sale that was never open may still change in every way: each request reads it,
and requests that come together share one read. Unknown ids are remembered for a second.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import asyncpg
import structlog

from config.settings import PostgresSettings
from config.waiting import happened_within
from gateway.api.ledger.connections import Ledger, LedgerUnavailable
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.facts import SaleFacts, facts_of
from gateway.inventory.keys import SALE_ID
from gateway.inventory.types import SaleState
from gateway.process.postgres import LEDGER_FAULTS

CHANNEL = "dropgate_sales"
SALES_MAX = 2000
UNKNOWN_IDS_MAX = 10_000
UNKNOWN_SECONDS = 1.0
# Concurrent reads of sales that are not cached: invented ids must not take every connection.
LOOKUPS_AT_ONCE = 2
READ_INTERVAL_SECONDS = 0.01
LISTEN_CHECK_SECONDS = 5.0
RECONNECT_SECONDS = 1.0

_log = structlog.get_logger()


class UnknownSale(Exception):
    """There is no sale of this id."""


class SaleDirectory:
    """The cache of sales' facts; `listen` must run for it to learn of changes."""

    def __init__(self, ledger: Ledger, settings: PostgresSettings) -> None:
        """`settings` are for the connection that listens; `ledger` reads sales."""
        self._ledger = ledger
        self._settings = settings
        self._facts: dict[str, SaleFacts] = {}
        self._stale: set[str] = set()
        self._unknown_until: dict[str, float] = {}
        self._next_reads: dict[str, asyncio.Task[SaleFacts | None]] = {}
        self._last_read_at: dict[str, float] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self.listening = False

    def cached(self, sale_id: str) -> SaleFacts | None:
        """Facts that may be used without a read; None when a read is needed."""
        facts = self._facts.get(sale_id)
        return facts if facts is not None and facts.opened and sale_id not in self._stale else None

    def last_known(self, sale_id: str) -> SaleFacts | None:
        """The facts read last; None when a change is known to have happened since."""
        return None if sale_id in self._stale else self._facts.get(sale_id)

    @property
    def sells_alone(self) -> bool:
        """Whether this worker knows sales that it can serve without Postgres."""
        return any(
            facts.opened and facts.state is not SaleState.SETTLED for facts in self._facts.values()
        )

    async def get(self, sale_id: str) -> SaleFacts:
        """The facts. Raises UnknownSale, or LedgerUnavailable when nothing usable is cached."""
        facts = self.cached(sale_id)
        if facts is not None:
            return facts
        if self._unknown_until.get(sale_id, 0.0) > time.monotonic():
            raise UnknownSale(sale_id)
        try:
            return await self.read(sale_id)
        except LedgerUnavailable:
            facts = self._facts.get(sale_id)
            if facts is None or not facts.opened:
                raise
            return facts

    async def read(self, sale_id: str) -> SaleFacts:
        """Facts from a read that began after this call. Raises UnknownSale, LedgerUnavailable."""
        if not SALE_ID.fullmatch(sale_id):
            raise UnknownSale(sale_id)
        task = self._next_reads.get(sale_id)
        if task is None:
            task = asyncio.create_task(self._read(sale_id))
            task.add_done_callback(_retrieve)
            self._next_reads[sale_id] = task
        facts = await asyncio.shield(task)
        if facts is None:
            raise UnknownSale(sale_id)
        return facts

    def invalidate(self, sale_id: str | None = None) -> None:
        """Have the sale (None: every sale) read anew on its next use."""
        self._stale.update(self._facts if sale_id is None else (sale_id,))
        if sale_id is None:
            self._unknown_until.clear()
        else:
            self._unknown_until.pop(sale_id, None)

    async def listen(self) -> None:
        """Follow NOTIFY until cancelled; after every lost connection all facts are read anew."""
        while True:
            try:
                await self._listen_once()
            except LEDGER_FAULTS as error:
                _log.warning("sales_listener_lost", error=str(error) or type(error).__name__)
            finally:
                self.listening = False
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(
            self._settings.dsn,
            timeout=self._settings.acquire_timeout_seconds,
            command_timeout=self._settings.command_timeout_seconds,
        )
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, self._notified)
            self.invalidate()
            self.listening = True
            while not lost.is_set():
                await happened_within(lost, LISTEN_CHECK_SECONDS)
                await connection.execute(QUERIES["ledger_alive"])
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self.invalidate(str(payload) or None)

    async def _read(self, sale_id: str) -> SaleFacts | None:
        since_last = time.monotonic() - self._last_read_at.get(sale_id, 0.0)
        if since_last < READ_INTERVAL_SECONDS:
            await asyncio.sleep(READ_INTERVAL_SECONDS - since_last)
        # The read begins here: a caller from now on waits for the next read.
        self._next_reads.pop(sale_id, None)
        self._stale.discard(sale_id)
        known = sale_id in self._facts
        try:
            async with nullcontext() if known else self._lookup():
                row = await self._ledger.fetchrow(QUERIES["sale_facts"], sale_id)
        except LedgerUnavailable:
            self._stale.add(sale_id)
            raise
        if row is None:
            self._forget(sale_id)
            return None
        facts = facts_of(row)
        self._remember(facts)
        return facts

    @asynccontextmanager
    async def _lookup(self) -> AsyncIterator[None]:
        """A turn to read a sale that is not cached. Raises LedgerUnavailable when it takes long."""
        try:
            async with asyncio.timeout(self._settings.acquire_timeout_seconds):
                await self._lookups.acquire()
        except TimeoutError as error:
            raise LedgerUnavailable("too many unknown sales are requested at once") from error
        try:
            yield
        finally:
            self._lookups.release()

    def _remember(self, facts: SaleFacts) -> None:
        known = self._facts.pop(facts.sale_id, None)
        if known is not None and known.version > facts.version:
            facts = known  # two reads crossed: the newer facts stay
        self._facts[facts.sale_id] = facts
        self._unknown_until.pop(facts.sale_id, None)
        self._last_read_at[facts.sale_id] = time.monotonic()
        while len(self._facts) > SALES_MAX:
            oldest = next(iter(self._facts))
            self._facts.pop(oldest)
            self._last_read_at.pop(oldest, None)
            self._stale.discard(oldest)

    def _forget(self, sale_id: str) -> None:
        self._facts.pop(sale_id, None)
        self._stale.discard(sale_id)
        self._last_read_at.pop(sale_id, None)
        self._unknown_until[sale_id] = time.monotonic() + UNKNOWN_SECONDS
        while len(self._unknown_until) > UNKNOWN_IDS_MAX:
            self._unknown_until.pop(next(iter(self._unknown_until)))


def _retrieve(task: asyncio.Task[SaleFacts | None]) -> None:
    """Retrieve a read's error, so that asyncio does not report it when no caller waits."""
    if not task.cancelled():
        task.exception()
