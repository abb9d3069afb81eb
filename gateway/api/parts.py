"""The parts of a gateway worker: each part is built from the parts it needs."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

import redis.asyncio as redis_py
import structlog
from aiohttp import web

from config.settings import AuthSettings, GatewaySettings, RateLimitSettings, Settings
from config.waiting import cancelled
from gateway.admission.client_address import ClientAddresses, parse_networks
from gateway.admission.keyring import Keyring, keyring_of
from gateway.admission.rate_limits import RateLimits
from gateway.admission.shedding import Load
from gateway.admission.tokens import Secret, TokenVerifier
from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.calls.demo_shop import DemoShopHandlers
from gateway.api.calls.operations import OperationHandlers
from gateway.api.calls.overview import OverviewHandlers
from gateway.api.calls.queue import QueueHandlers
from gateway.api.calls.reservations import ReservationHandlers
from gateway.api.calls.sales import SaleHandlers
from gateway.api.calls.system import SystemHandlers
from gateway.api.calls.table import (
    demo_shop_endpoints,
    operation_endpoints,
    overview_endpoints,
    public_sale_endpoint,
    queue_endpoints,
    queue_operation_endpoints,
    reservation_endpoints,
    sale_endpoints,
)
from gateway.api.contract.endpoints import AnyEndpoint
from gateway.api.contract.rate_headers import Quota
from gateway.api.door.cors import Cors
from gateway.api.door.edge import Edge
from gateway.api.door.ports import make_apps
from gateway.api.door.traced import TracedReserve, traced
from gateway.api.ledger.connections import Ledger
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.operations.dead_letters import DeadLetters
from gateway.api.operations.gauges import Gauges
from gateway.api.operations.health import HealthCheck
from gateway.api.operations.overview import Overview
from gateway.api.operations.reconciliations import Reconciliations
from gateway.api.operations.room_gauges import QueueGauges
from gateway.api.queue.control import QueueOperations
from gateway.api.queue.gate import QueueGate
from gateway.api.queue.places import Queue, RoomFactsReader
from gateway.api.queue.streams import QueueStreams
from gateway.api.reservations.changes import ReservationService
from gateway.api.reservations.demo_shop import DemoShop
from gateway.api.reservations.orders import OrderBook
from gateway.api.reservations.reserve import Reserve
from gateway.api.reservations.settled import SettledReservations
from gateway.api.sales.changes import SaleOperations
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.public import PublicSales
from gateway.api.sales.settlement import Settlement, keys_client
from gateway.api.sales.snapshots import Snapshots
from gateway.api.sales.stock_adjustments import StockAdjustments
from gateway.inventory.batcher import BatcherBounds, ReserveBatcher
from gateway.inventory.catalog import PartitionBounds
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore
from gateway.inventory.tracing import make_tracing
from gateway.inventory.types import BuyerRate
from gateway.process.postgres import create_pool
from lua.loader import load_scripts

_log = structlog.get_logger()


class Worker(NamedTuple):
    """What `gateway.api.service` serves, and the parts it needs for that."""

    app: web.Application
    operators_app: web.Application | None
    edge: Edge
    reserve: Reserve
    metrics: GatewayMetrics
    streams: QueueStreams
    cors: Cors | None


def client_addresses(gateway: GatewaySettings) -> ClientAddresses:
    """Finds a caller's own address behind the trusted proxies."""
    return ClientAddresses(parse_networks(gateway.trusted_proxies), gateway.forwarded_header)


async def assemble(settings: Settings, parts: AsyncExitStack) -> Worker:
    """Build every part; `parts` closes them in reverse order."""
    verifier, keyring = await _verifier(settings.auth, parts)
    gateway = settings.gateway
    metrics = GatewayMetrics(gateway.run_dir, gateway.worker_slot)
    parts.callback(metrics.close)
    postgres = await create_pool(settings.postgres)
    parts.callback(postgres.terminate)
    ledger = Ledger(postgres, settings.postgres.acquire_timeout_seconds)
    reading = await create_pool(settings.postgres, size=settings.postgres.read_pool_size)
    parts.callback(reading.terminate)
    # Reads have their own connections: slow or many reads never block calls that change state.
    reads = Ledger(reading, settings.postgres.acquire_timeout_seconds)
    pool = ScriptPool(settings.redis, load_scripts())
    parts.push_async_callback(pool.stop)
    await pool.start()
    client = keys_client(settings.redis)
    parts.push_async_callback(client.aclose)
    directory = SaleDirectory(ledger, settings.postgres)
    listener = asyncio.create_task(directory.listen())
    parts.push_async_callback(cancelled, listener)
    buyer_rate, buyer_quota = _buyer_rate(settings.rate_limit)
    store = ReservationStore(pool, buyer_rate)
    settled = SettledReservations(reads)
    rooms = WaitingRooms(settings, pool, store, client, postgres, RoomFactsReader(directory))
    parts.push_async_callback(cancelled, asyncio.create_task(rooms.watch()))
    tracing = make_tracing(settings.tracing, "gateway")
    make_reserve: Callable[..., Reserve] = Reserve
    if tracing is not None:
        parts.callback(tracing.close)
        make_reserve = partial(TracedReserve, tracing)
    batcher = ReserveBatcher(store, _batcher_bounds(settings))
    reserve = make_reserve(
        directory,
        batcher,
        settled,
        metrics,
        QueueGate(rooms),
        buyer_quota=buyer_quota,
        deadline_seconds=gateway.request_deadline_seconds,
    )
    gauges = Gauges(reads, store, client)
    load = Load(gateway.max_in_flight, gateway.max_queue_milliseconds / 1000, batcher.queue_seconds)
    parts.push_async_callback(cancelled, asyncio.create_task(load.watch()))
    limits = RateLimits(settings.rate_limit, gateway.workers)
    edge = Edge(
        verifier, metrics, load, limits if limits.enabled else None, client_addresses(gateway)
    )
    queue = Queue(directory, rooms)
    streams = QueueStreams(
        queue,
        streams_max=settings.waiting_room.streams_max,
        heartbeat_seconds=settings.waiting_room.heartbeat_seconds,
    )
    waiting = QueueOperations(queue, directory, ledger)
    queue_handlers = QueueHandlers(queue, streams, waiting, gateway.max_body_bytes)
    overview = Overview(
        directory, reads, Snapshots(directory, store, reads), metrics, gauges, waiting
    )
    endpoints = [
        *queue_endpoints(queue_handlers),
        *queue_operation_endpoints(queue_handlers),
        *overview_endpoints(OverviewHandlers(overview)),
        *_endpoints(settings, reserve, settled, ledger, reads, store, directory, client),
    ]
    if tracing is not None:
        endpoints = [traced(endpoint, tracing) for endpoint in endpoints]
    cors = Cors(gateway.cors_origins) if gateway.cors_origins else None
    health = HealthCheck(pool, ledger, directory, keyring)
    queue_gauges = QueueGauges(reads, rooms.store)
    app, operators_app = make_apps(
        gateway,
        edge,
        endpoints,
        lambda: SystemHandlers(health, metrics, gauges, queue_gauges),
        cors,
    )
    return Worker(app, operators_app, edge, reserve, metrics, streams, cors)


def _buyer_rate(limits: RateLimitSettings) -> tuple[BuyerRate | None, Quota | None]:
    """The rate limit of one buyer, for the scripts and for the answers' headers; None: no limit."""
    if not limits.buyer_per_second:
        return None, None
    requests, window_seconds = limits.buyer_requests, limits.buyer_window_seconds
    rate = BuyerRate(requests, max(1, round(window_seconds * 1000)))
    return rate, Quota("buyer", requests, window_seconds)


async def _verifier(
    auth: AuthSettings, parts: AsyncExitStack
) -> tuple[TokenVerifier, Keyring | None]:
    """The verifier of tokens, and its public keys. Raises ValueError without a secret or keys."""
    secrets = [Secret(key.encode(), kid) for kid, key in auth.hs256_keys]
    keyring = keyring_of(auth)
    if not secrets and keyring is None:
        raise ValueError("auth.secret or auth.jwks: the gateway needs one to verify tokens")
    if keyring is not None:
        await keyring.refresh()
        parts.push_async_callback(cancelled, asyncio.create_task(keyring.run()))
    return TokenVerifier(secrets, auth.audience, auth.leeway_seconds, keyring), keyring


def _batcher_bounds(settings: Settings) -> BatcherBounds:
    return BatcherBounds(
        max_batch=settings.gateway.batch_max_requests,
        max_in_flight=settings.gateway.max_in_flight,
        max_queue_seconds=settings.gateway.max_queue_milliseconds / 1000,
    )


def _endpoints(
    settings: Settings,
    reserve: Reserve,
    settled: SettledReservations,
    ledger: Ledger,
    reads: Ledger,
    store: ReservationStore,
    directory: SaleDirectory,
    client: redis_py.Redis,
) -> list[AnyEndpoint]:
    """The endpoints of reservations, sales, operations and the demo shop."""
    most = settings.gateway.max_body_bytes
    bounds = PartitionBounds(
        outbox_bound=settings.inventory.outbox_bound_events,
        sweep_bound=settings.inventory.sweep_bound,
    )
    snapshots = Snapshots(directory, store, reads)
    service = ReservationService(directory, store, settled)
    reservations = ReservationHandlers(reserve, service, OrderBook(reads), most)
    sales = SaleHandlers(
        SaleOperations(directory, ledger, store, bounds),
        StockAdjustments(directory, ledger, store),
        Settlement(directory, ledger, snapshots, client),
        snapshots,
        PublicSales(directory, snapshots),
        most,
    )
    operations = OperationHandlers(
        Reconciliations(directory, ledger, reads), DeadLetters(ledger, reads), most
    )
    shop: tuple[AnyEndpoint, ...] = ()
    if settings.gateway.demo_shop:
        shop = demo_shop_endpoints(DemoShopHandlers(DemoShop(settings, ledger, service), most))
        _log.warning("demo_shop_on", detail="anybody on this machine can buy without paying")
    return [
        *shop,
        *reservation_endpoints(reservations),
        public_sale_endpoint(sales),
        *sale_endpoints(sales),
        *operation_endpoints(operations),
    ]
