"""Facts of sales, cached for the request path.

What may be cached: a sale that was ever open never changes its spec, key or partitions again, so
its facts serve for as long as they fit, also while Postgres is away; NOTIFY makes the next request
read its state anew. A sale not yet open may still change in every way: each request reads it,
requests that come together sharing one read. Unknown ids are remembered for a second.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress

import asyncpg
import structlog

from config.settings import PostgresSettings
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
# Reads at once of sales that are not known here: made-up ids must not take every connection.
LOOKUPS_AT_ONCE = 2
READ_INTERVAL_SECONDS = 0.01
LISTEN_CHECK_SECONDS = 5.0
RECONNECT_SECONDS = 1.0

_log = structlog.get_logger()


class UnknownSale(Exception):
    """There is no sale of this id."""


class SaleDirectory:
    """See the module."""

    def __init__(self, ledger: Ledger, settings: PostgresSettings) -> None:
        """`settings` are for the connection that listens; `ledger` reads."""
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
        """Facts that may be used as they are, without waiting."""
        facts = self._facts.get(sale_id)
        return facts if facts is not None and facts.opened and sale_id not in self._stale else None

    def last_known(self, sale_id: str) -> SaleFacts | None:
        """Facts as they were read last, unless something is known to have changed since."""
        return None if sale_id in self._stale else self._facts.get(sale_id)

    @property
    def sells_alone(self) -> bool:
        """Whether there are sales whose requests can be served without Postgres."""
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
        """The facts as of a read that began after this call. Raises as `get` does."""
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
        """Read the sale (None: every sale) anew when it is next asked for."""
        self._stale.update(self._facts if sale_id is None else (sale_id,))
        if sale_id is None:
            self._unknown_until.clear()
        else:
            self._unknown_until.pop(sale_id, None)

    async def listen(self) -> None:
        """Follow NOTIFY until cancelled; after every gap all facts are read anew."""
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
                with suppress(TimeoutError):
                    async with asyncio.timeout(LISTEN_CHECK_SECONDS):
                        await lost.wait()
                await connection.execute(QUERIES["ledger_alive"])
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self.invalidate(str(payload) or None)

    async def _read(self, sale_id: str) -> SaleFacts | None:
        since_last = time.monotonic() - self._last_read_at.get(sale_id, 0.0)
        if since_last < READ_INTERVAL_SECONDS:
            await asyncio.sleep(READ_INTERVAL_SECONDS - since_last)
        # From here on the read has begun: who comes now joins the next one.
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
        """A turn to read a sale that is not known here. Raises LedgerUnavailable after a while."""
        try:
            async with asyncio.timeout(self._settings.acquire_timeout_seconds):
                await self._lookups.acquire()
        except TimeoutError as error:
            raise LedgerUnavailable("too many unknown sales are asked for") from error
        try:
            yield
        finally:
            self._lookups.release()

    def _remember(self, facts: SaleFacts) -> None:
        known = self._facts.pop(facts.sale_id, None)
        if known is not None and known.version > facts.version:
            facts = known  # two reads crossed: the newer one stays
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
    """Look at a read's error although nobody may have waited for it."""
    if not task.cancelled():
        task.exception()
