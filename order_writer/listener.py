"""NOTIFYs that wake the writer: a sale has changed, or a replay was requested."""

import asyncio

import asyncpg
import structlog

from config.waiting import happened_within
from order_writer.ledger import statements
from order_writer.writing.faults import PASSING, fault_backoff

SALES_CHANNEL = "dropgate_sales"
WRITER_CHANNEL = "dropgate_writer"
# Between probes: only a question shows that a connection has died in silence.
PROBE_SECONDS = 5.0

_log = structlog.get_logger()


class Listener:
    """Sets its events on NOTIFY, and both after every connect, for NOTIFYs that were missed."""

    def __init__(self, pool: asyncpg.Pool, stop: asyncio.Event) -> None:
        self.sales_changed = asyncio.Event()
        self.replay_asked = asyncio.Event()
        self._pool = pool
        self._stop = stop

    async def run(self) -> None:
        """Listen until the process is to stop; a lost connection is replaced."""
        backoff = fault_backoff()
        while not self._stop.is_set():
            try:
                async with self._pool.acquire() as connection:
                    await connection.add_listener(SALES_CHANNEL, self._on_sale)
                    await connection.add_listener(WRITER_CHANNEL, self._on_replay)
                    self.sales_changed.set()
                    self.replay_asked.set()
                    backoff.reset()
                    while not await happened_within(self._stop, PROBE_SECONDS):
                        await connection.fetchval(statements.QUERIES["probe"])
                    await connection.remove_listener(SALES_CHANNEL, self._on_sale)
                    await connection.remove_listener(WRITER_CHANNEL, self._on_replay)
            except PASSING as error:
                _log.warning("listener_lost", error=repr(error))
                await backoff.pause_unless(self._stop)

    def _on_sale(self, *_: object) -> None:
        self.sales_changed.set()

    def _on_replay(self, *_: object) -> None:
        self.replay_asked.set()
