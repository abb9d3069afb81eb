"""The order writer's process: fetch, apply, commit; compare every second; replay when asked.

One loop does all of it, one thing at a time, so that two of its parts never apply to the same
partition at once. Only imports go on beside it: they are about partitions that the loop has
stopped. Redis, Postgres and the log may go away and come back at any point.
"""

import asyncio
import time
from contextlib import suppress

import asyncpg
import structlog

from config.settings import Settings
from config.waiting import happened_within
from gateway.inventory.redis.ledger_fence import open_fence
from gateway.inventory.redis.outbox import create_reader
from gateway.inventory.tracing import Tracing, make_tracing, now_ns
from gateway.process.postgres import CONNECTION_FAULTS
from gateway.process.scrape import scraped
from order_writer.importing.importer import Importer
from order_writer.ledger import statements
from order_writer.letters.replay import Replay
from order_writer.letters.topic import DeadLetterTopic
from order_writer.listener import Listener
from order_writer.log.event_log import Batch, EventLog
from order_writer.log.kafka_log import KafkaLog
from order_writer.log.outbox import Outbox
from order_writer.log.outbox_log import OutboxLog
from order_writer.log.traced import trace
from order_writer.metrics import WriterMetrics
from order_writer.writing.faults import (
    PASSING,
    Stopping,
    fault_backoff,
    handle_lost_connection,
    patiently,
    pause_or_stop,
)
from order_writer.writing.known_ledger import KnownLedger
from order_writer.writing.watch import Watch
from order_writer.writing.writer import Writer

COMPARE_INTERVAL_SECONDS = 1.0
# The first of many changed sales is followed at once, the others together.
REFRESH_GAP_SECONDS = 0.2
FETCH_WAIT_SECONDS = 0.25
CLOSE_TIMEOUT_SECONDS = 3.0
POOL_CONNECTIONS = 4  # one writes, one listens, one publishes dead letters, one imports

_log = structlog.get_logger()


class Service:
    """The loop and what it uses."""

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        listener: Listener,
        stop: asyncio.Event,
        importer: Importer,
        tracing: Tracing | None = None,
    ) -> None:
        """`tracing`: where the spans of applied events go; None: no spans."""
        self._importer = importer
        self._tracing = tracing
        self._batch_max_events = settings.order_writer.batch_max_events
        self._batch_wait_seconds = settings.order_writer.batch_wait_milliseconds / 1000
        self._writer = writer
        self._watch = Watch(writer)
        self._replay = Replay(writer)
        self._listener = listener
        self._stop = stop
        self._log_away = fault_backoff()
        self._next_compare = 0.0
        self._next_refresh = 0.0

    async def run(self) -> None:
        """Work until the process is to stop."""
        with suppress(Stopping):
            await patiently(self._stop, "read_watermarks", self._watch.refresh)
            _log.info("order_writer_started")
            while not self._stop.is_set():
                batch = await self._fetch_or_wait()
                if batch.entries or batch.foreign:
                    began_ns = now_ns()
                    await self._writer.write(batch)
                    if self._tracing is not None:
                        trace(self._tracing, batch, began_ns)
                    await self._writer.log.commit()
                await self._duties()
        _log.info("order_writer_stopped")

    async def _fetch_or_wait(self) -> Batch:
        """A batch; after a pause an empty batch where the log is away. The duties go on meanwhile,
        and with them the ledger: they read from the outboxes what it lacks.
        """
        try:
            batch = await self._fetch()
        except PASSING as error:
            failures = self._log_away.failures + 1
            _log.warning("trying_again", what="fetch", failures=failures, error=repr(error))
            await pause_or_stop(self._log_away, self._stop)
            return Batch([], [])
        self._log_away.reset()
        return batch

    async def _fetch(self) -> Batch:
        """A batch. A batch that is not full gets a moment to fill, so that commits stay few."""
        log, most = self._writer.log, self._batch_max_events
        first = await log.fetch(most, FETCH_WAIT_SECONDS)
        count = len(first.entries) + len(first.foreign)
        if (
            count == 0
            or count >= most
            or await happened_within(self._stop, self._batch_wait_seconds)
        ):
            return first
        more = await log.fetch(most - count, 0.0)
        return Batch(first.entries + more.entries, first.foreign + more.foreign)

    async def _duties(self) -> None:
        """Whatever is due beside the log. After a fault the next round tries again."""
        listener = self._listener
        try:
            if listener.sales_changed.is_set() and time.monotonic() >= self._next_refresh:
                self._next_refresh = time.monotonic() + REFRESH_GAP_SECONDS
                listener.sales_changed.clear()
                await self._watch.refresh()
            if time.monotonic() >= self._next_compare:
                self._next_compare = time.monotonic() + COMPARE_INTERVAL_SECONDS
                listener.replay_asked.set()  # in case a NOTIFY was lost
                await self._watch.compare()
                self._importer.begin(self._watch.stopped)
            if listener.replay_asked.is_set():
                listener.replay_asked.clear()
                await self._replay.serve()
        except PASSING as error:
            listener.sales_changed.set()
            listener.replay_asked.set()
            _log.warning("duty_put_off", error=repr(error))
            await happened_within(self._stop, FETCH_WAIT_SECONDS)


def create_log(settings: Settings) -> EventLog:
    """The event log the settings name."""
    if settings.event_log.kind == "kafka":
        return KafkaLog(settings.event_log)
    return OutboxLog(
        create_reader(settings.redis, connections=1),
        block_seconds_limit=settings.redis.socket_timeout_seconds,
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run an order writer until `stop` is set; a batch under way is applied whole or not at all."""
    asyncio.get_running_loop().set_exception_handler(handle_lost_connection)
    async with open_fence(settings.redis) as fence:
        pool = await statements.open_pool(
            settings.postgres, size=POOL_CONNECTIONS, guard=fence.guard
        )
        await _run(settings, stop, pool)


async def _run(settings: Settings, stop: asyncio.Event, pool: asyncpg.Pool) -> None:
    reader = create_reader(settings.redis, connections=2)
    log = create_log(settings)
    metrics = WriterMetrics()
    tracing = make_tracing(settings.tracing, "order-writer")
    outbox = Outbox(reader)
    writer = Writer(
        pool=pool,
        ledger=KnownLedger(pool, outbox, log),
        outbox=outbox,
        log=log,
        metrics=metrics,
        stop=stop,
        batch_max_events=settings.order_writer.batch_max_events,
    )
    importer = Importer(settings.redis, pool, reader, metrics)
    listener = Listener(pool, stop)
    beside = [asyncio.create_task(listener.run(), name="order-writer-listener")]
    if settings.event_log.kind == "kafka":
        topic = DeadLetterTopic(pool, settings.event_log, stop)
        beside.append(asyncio.create_task(topic.run(), name="order-writer-dead-letters"))
    try:
        with scraped(settings.metrics, metrics.registry):
            await Service(settings, writer, listener, stop, importer, tracing).run()
    finally:
        await importer.end()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await log.close()
        await reader.aclose()
        await _close_pool(pool)
        if tracing is not None:
            tracing.close()


async def _close_pool(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await pool.close()
    except CONNECTION_FAULTS:
        pool.terminate()
