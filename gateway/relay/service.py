"""The relay's process: discovers partitions in the ledger and carries their events until stopped.

Any number of relays may run: each partition has one leader at a time, and another relay takes over
within seconds from a leader that dies or hangs. The ledger may be away: the partitions last seen
are carried on. Redis or Kafka may be away: the relay waits, with growing pauses, and goes on from
the last acknowledged event.
"""

import asyncio
import time

import asyncpg
import structlog
from redis.exceptions import RedisError

from config.settings import Settings
from config.waiting import Backoff, happened_within
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.ledger_fence import LedgerFence
from gateway.inventory.redis.outbox import create_reader
from gateway.inventory.tracing import make_tracing
from gateway.process.postgres import LEDGER_FAULTS, create_pool
from gateway.process.scrape import scraped
from gateway.relay.announcer import SettlementAnnouncer
from gateway.relay.producer import EventProducer, LogUnavailable
from gateway.relay.queries import QUERIES
from gateway.relay.relay import STANDBY_SECONDS, Relay, RelayConfig

DISCOVERY_SECONDS = 1.0
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MOST_SECONDS = 2.0

_log = structlog.get_logger()


class Discovery:
    """The partitions as last read from the ledger."""

    def __init__(self, ledger: asyncpg.Pool) -> None:
        self._ledger = ledger
        self._known: tuple[PartitionId, ...] = ()
        self._due_at = 0.0

    async def partitions(self) -> tuple[PartitionId, ...]:
        """At most DISCOVERY_SECONDS old while the ledger can be reached."""
        if time.monotonic() < self._due_at:
            return self._known
        try:
            rows = await self._ledger.fetch(QUERIES["partitions"])
        except LEDGER_FAULTS as error:
            _log.warning("partitions_remembered", error=str(error) or type(error).__name__)
        else:
            self._known = tuple(PartitionId(row["sale_id"], row["partition"]) for row in rows)
        self._due_at = time.monotonic() + DISCOVERY_SECONDS
        return self._known


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Relay until `stop`; the round under way is ended by its own deadlines."""
    redis = create_reader(settings.redis, connections=3)
    tracing = make_tracing(settings.tracing, "relay")
    producer = EventProducer(settings.event_log, tracing)
    fence = LedgerFence(redis)
    # One discovers, one announces.
    ledger = await create_pool(settings.postgres, size=2, guard=fence.guard)
    relay = Relay(redis, producer, RelayConfig())
    discovery = Discovery(ledger)
    # Its own producer: a failed producer is replaced, and events must not wait for that.
    own_producer = EventProducer(settings.event_log)
    announcer = SettlementAnnouncer(ledger, own_producer, settings.event_log)
    announcing = asyncio.create_task(announcer.keep(), name="relay-settlements")
    _log.info("relay_started", topic=settings.event_log.topic)
    try:
        with scraped(settings.metrics, relay.metrics.registry):
            await _keep(relay, discovery, stop)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        await _give_up(relay)
        await own_producer.close()
        await producer.close()
        await redis.aclose()
        ledger.terminate()
        if tracing is not None:
            tracing.close()
        _log.info("relay_stopped")


async def _keep(relay: Relay, discovery: Discovery, stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    pauses = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS)
    try:
        while not stop.is_set():
            trouble = await _round(relay, discovery, stopping)
            if trouble is None:
                pauses.reset()
                continue
            relay.metrics.failed_rounds.inc()
            await _give_up(relay)
            pause_seconds = pauses.next_seconds()
            _log.warning("relay_waits", error=trouble, seconds=round(pause_seconds, 3))
            await happened_within(stop, pause_seconds)
    finally:
        stopping.cancel()


async def _give_up(relay: Relay) -> None:
    try:
        await relay.give_up()
    except (RedisError, OSError, TimeoutError) as error:
        _log.warning("leases_run_out", error=str(error) or type(error).__name__)


async def _round(relay: Relay, discovery: Discovery, stopping: asyncio.Task[bool]) -> str | None:
    """One round, cut short by the stop; returns None, or the cause of its failure."""
    round_ = asyncio.ensure_future(_discover_and_relay(relay, discovery))
    await asyncio.wait((round_, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not round_.done():
        # What was sent but not remembered is sent again by the next relay.
        round_.cancel()
        await asyncio.wait((round_,))
        return None
    try:
        return None if round_.result() else "the log did not take everything"
    except (RedisError, LogUnavailable, OSError, TimeoutError) as error:
        return str(error) or type(error).__name__


async def _discover_and_relay(relay: Relay, discovery: Discovery) -> bool:
    partitions = await discovery.partitions()
    if not partitions:
        await asyncio.sleep(STANDBY_SECONDS)
        return True
    complete = await relay.run_round(partitions)
    await relay.log_lag()
    return complete
