"""One gateway worker: everything made, served, and taken down again."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiohttp import web

from gateway.admission.client_address import ClientAddresses, parse_networks
from gateway.admission.keyring import Keyring, keyring_of
from gateway.admission.rate_limits import RateLimits
from gateway.admission.shedding import Load
from gateway.admission.tokens import Secret, TokenVerifier
from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.connections import ConnectionBounds, Connections
from gateway.api.contract.endpoints import AnyEndpoint
from gateway.api.contract.rate_headers import Quota
from gateway.api.cors import Cors
from gateway.api.handlers.demo_shop import DemoShopHandlers
from gateway.api.handlers.operations import OperationHandlers
from gateway.api.handlers.overview import OverviewHandlers
from gateway.api.handlers.queue import QueueHandlers
from gateway.api.handlers.reservations import ReservationHandlers
from gateway.api.handlers.sales import SaleHandlers
from gateway.api.handlers.system import SystemHandlers
from gateway.api.hot_path import HotPath, HotServer
from gateway.api.ledger.connections import Ledger
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.operations.dead_letters import DeadLetters
from gateway.api.operations.gauges import Gauges
from gateway.api.operations.health import HealthCheck
from gateway.api.operations.overview import Overview
from gateway.api.operations.reconciliations import Reconciliations
from gateway.api.operations.room_gauges import QueueGauges
from gateway.api.ports import make_apps
from gateway.api.protocol import ProblemServer
from gateway.api.queue.control import QueueOperations
from gateway.api.queue.gate import QueueGate
from gateway.api.queue.places import Queue, RoomFactsReader
from gateway.api.queue.streams import QueueStreams
from gateway.api.reservations.changes import ReservationService
from gateway.api.reservations.demo_shop import DemoShop
from gateway.api.reservations.orders import OrderBook
from gateway.api.reservations.reserve import Reserve
from gateway.api.reservations.settled import SettledReservations
from gateway.api.responses import Edge
from gateway.api.routes import (
    demo_shop_endpoints,
    operation_endpoints,
    overview_endpoints,
    public_sale_endpoint,
    queue_endpoints,
    queue_operation_endpoints,
    reservation_endpoints,
    sale_endpoints,
)
from gateway.api.sales.changes import SaleOperations
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.public import PublicSales
from gateway.api.sales.settlement import Settlement, keys_client
from gateway.api.sales.snapshots import Snapshots
from gateway.api.sales.stock_adjustments import StockAdjustments
from gateway.api.traced import TracedReserve, traced
from gateway.inventory.batcher import BatcherBounds, ReserveBatcher
from gateway.inventory.catalog import PartitionBounds
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore
from gateway.inventory.tracing import make_tracing
from gateway.inventory.types import BuyerRate
from gateway.process.postgres import create_pool
from lua.loader import load_scripts

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis.asyncio as redis_py

    from config.settings import AuthSettings, GatewaySettings, RateLimitSettings, Settings

STOP_SECONDS = 4.0
LINGERING_SECONDS = 1.0
LINE_MAX_BYTES = 4096
FIELD_MAX_BYTES = 4096
HEADERS_MAX = 64
# File descriptors of a worker that are no client's.
OWN_FILES = 256

_log = structlog.get_logger(__name__)


class _Worker(NamedTuple):
    """What a worker serves, and what it is served with."""

    app: web.Application
    operators_app: web.Application | None
    edge: Edge
    reserve: Reserve
    metrics: GatewayMetrics
    streams: QueueStreams
    cors: Cors | None


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what is under way, within 5 s.

    Starts although Postgres or Redis cannot be reached (`/readyz` says so) and connects when they
    are there. Raises DurabilityMismatch when Redis keeps less than the settings promise, ValueError
    without a token secret, OSError when the port is taken.
    """
    async with AsyncExitStack() as parts:
        worker = await _assemble(settings, parts)
        gateway = settings.gateway
        _allow_files(gateway.max_connections + OWN_FILES)
        connections = _connections(gateway, worker.metrics, _addresses(gateway))
        watch = asyncio.create_task(connections.watch())
        parts.push_async_callback(_cancelled, watch)
        hot_path = HotPath(
            worker.edge, worker.reserve, worker.cors, max_body_bytes=gateway.max_body_bytes
        )
        make_hot = partial(HotServer, hot_path, connections)
        addresses = await _serve(parts, worker.app, make_hot, gateway, gateway.port)
        if worker.operators_app is not None and gateway.ops_port is not None:
            make = partial(ProblemServer, connections)
            addresses += await _serve(parts, worker.operators_app, make, gateway, gateway.ops_port)
        _log.info("gateway_serving", address=addresses, worker_slot=gateway.worker_slot)
        await stop.wait()
        worker.streams.close()
        _log.info("gateway_stopping", worker_slot=gateway.worker_slot)


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of file descriptors; say so where the hard one is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning("file_limit_low", limit=most, wanted=wanted)


def _addresses(gateway: GatewaySettings) -> ClientAddresses:
    return ClientAddresses(parse_networks(gateway.trusted_proxies), gateway.forwarded_header)


def _connections(
    gateway: GatewaySettings, metrics: GatewayMetrics, addresses: ClientAddresses
) -> Connections:
    bounds = ConnectionBounds(
        max_connections=gateway.max_connections,
        max_per_address=gateway.max_connections_per_address,
        head_seconds=gateway.head_timeout_seconds,
        unread_seconds=gateway.unread_timeout_seconds,
    )
    return Connections(
        bounds,
        count=metrics.count_connections,
        ended=metrics.connection_ended,
        exempt=addresses.trusts,
    )


async def _serve(
    parts: AsyncExitStack,
    app: web.Application,
    make: Callable[..., ProblemServer],
    gateway: GatewaySettings,
    port: int,
) -> list[Any]:
    """Serve the application on the port; `make` makes the connections' end. Its addresses."""
    application = web.AppRunner(app, handle_signals=False)
    await application.setup()
    parts.push_async_callback(application.cleanup)
    runner = web.ServerRunner(
        _server(application, make, gateway), handle_signals=False, shutdown_timeout=STOP_SECONDS
    )
    await runner.setup()
    parts.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, gateway.host, port, backlog=gateway.backlog, reuse_port=True)
    await site.start()
    return runner.addresses


def _server(
    application: web.AppRunner, make: Callable[..., ProblemServer], gateway: GatewaySettings
) -> ProblemServer:
    """The connections' end, with the application behind it."""
    general = application.server
    if general is None:
        raise RuntimeError("the application is not set up")
    return make(
        general.request_handler,
        general.request_factory,
        access_log=None,
        keepalive_timeout=gateway.keepalive_timeout_seconds,
        lingering_time=LINGERING_SECONDS,
        max_line_size=LINE_MAX_BYTES,
        max_field_size=FIELD_MAX_BYTES,
        max_headers=HEADERS_MAX,
        auto_decompress=False,
    )


async def _assemble(settings: Settings, parts: AsyncExitStack) -> _Worker:
    """Make every part; `parts` takes them down in the opposite order."""
    verifier, keyring = await _verifier(settings.auth, parts)
    gateway = settings.gateway
    metrics = GatewayMetrics(gateway.run_dir, gateway.worker_slot)
    parts.callback(metrics.close)
    postgres = await create_pool(settings.postgres)
    parts.callback(postgres.terminate)
    ledger = Ledger(postgres, settings.postgres.acquire_timeout_seconds)
    reading = await create_pool(settings.postgres, size=settings.postgres.read_pool_size)
    parts.callback(reading.terminate)
    # Reads have connections of their own: however slow or many, state calls find theirs free.
    reads = Ledger(reading, settings.postgres.acquire_timeout_seconds)
    pool = ScriptPool(settings.redis, load_scripts())
    parts.push_async_callback(pool.stop)
    await pool.start()
    client = keys_client(settings.redis)
    parts.push_async_callback(client.aclose)
    directory = SaleDirectory(ledger, settings.postgres)
    listener = asyncio.create_task(directory.listen())
    parts.push_async_callback(_cancelled, listener)
    buyer_rate, buyer_quota = _buyer_rate(settings.rate_limit)
    store = ReservationStore(pool, buyer_rate)
    settled = SettledReservations(reads)
    rooms = WaitingRooms(settings, pool, store, client, postgres, RoomFactsReader(directory))
    parts.push_async_callback(_cancelled, asyncio.create_task(rooms.watch()))
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
    parts.push_async_callback(_cancelled, asyncio.create_task(load.watch()))
    limits = RateLimits(settings.rate_limit, gateway.workers)
    edge = Edge(verifier, metrics, load, limits if limits.enabled else None, _addresses(gateway))
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
    return _Worker(app, operators_app, edge, reserve, metrics, streams, cors)


def _buyer_rate(limits: RateLimitSettings) -> tuple[BuyerRate | None, Quota | None]:
    """One buyer's rate in the scripts' terms and in those of the answers; None: no limit."""
    if not limits.buyer_per_second:
        return None, None
    requests, window_seconds = limits.buyer_requests, limits.buyer_window_seconds
    rate = BuyerRate(requests, max(1, round(window_seconds * 1000)))
    return rate, Quota("buyer", requests, window_seconds)


async def _verifier(
    auth: AuthSettings, parts: AsyncExitStack
) -> tuple[TokenVerifier, Keyring | None]:
    """Who verifies tokens, and the public keys for that. Raises ValueError where nothing can."""
    secrets = [Secret(key.encode(), kid) for kid, key in auth.hs256_keys]
    keyring = keyring_of(auth)
    if not secrets and keyring is None:
        raise ValueError("auth.secret or auth.jwks: the gateway cannot verify tokens without one")
    if keyring is not None:
        await keyring.refresh()
        parts.push_async_callback(_cancelled, asyncio.create_task(keyring.run()))
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
    """Every call over the parts it needs."""
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
        _log.warning("demo_shop_on", detail="anybody on this machine buys without paying")
    return [
        *shop,
        *reservation_endpoints(reservations),
        public_sale_endpoint(sales),
        *sale_endpoints(sales),
        *operation_endpoints(operations),
    ]


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
