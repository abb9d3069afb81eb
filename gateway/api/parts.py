"""The parts of a gateway worker: each part is built from the parts it needs."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

import structlog
from aiohttp import web

from config.settings import AuthSettings, GatewaySettings, RateLimitSettings, Settings
from config.waiting import cancelled
from gateway.admission.client_address import ClientAddresses, parse_networks
from gateway.admission.keyring import Keyring, keyring_of
from gateway.admission.rate_limits import RateLimits
from gateway.admission.shedding import Load
from gateway.admission.tokens import Secret, TokenVerifier
from gateway.api.backends import Backends, open_backends
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
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.operations.dead_letters import DeadLetters
from gateway.api.operations.gauges import Gauges
from gateway.api.operations.health import HealthCheck
from gateway.api.operations.overview import Overview
from gateway.api.operations.reconciliations import Reconciliations
from gateway.api.operations.room_gauges import QueueGauges
from gateway.api.queue.control import QueueOperations
from gateway.api.queue.gate import QueueGate
from gateway.api.queue.places import Queue
from gateway.api.queue.streams import QueueStreams
from gateway.api.reservations.changes import ReservationService
from gateway.api.reservations.demo_shop import DemoShop
from gateway.api.reservations.orders import OrderBook
from gateway.api.reservations.reserve import Reserve
from gateway.api.reservations.settled import SettledReservations
from gateway.api.sales.changes import SaleOperations
from gateway.api.sales.public import PublicSales
from gateway.api.sales.settlement import Settlement
from gateway.api.sales.snapshots import Snapshots
from gateway.api.sales.stock_adjustments import StockAdjustments
from gateway.inventory.batcher import BatcherBounds, ReserveBatcher
from gateway.inventory.catalog import PartitionBounds
from gateway.inventory.tracing import Tracing, make_tracing

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
    backends = await open_backends(settings, parts)
    tracing = make_tracing(settings.tracing, "gateway")
    if tracing is not None:
        parts.callback(tracing.close)
    settled = SettledReservations(backends.reads)
    batcher = ReserveBatcher(backends.store, _batcher_bounds(settings))
    reserve = _reserve(settings, backends, batcher, settled, tracing)
    edge = _edge(settings, backends.metrics, verifier, batcher, parts)
    queue = Queue(backends.directory, backends.rooms)
    streams = QueueStreams(
        queue,
        streams_max=settings.waiting_room.streams_max,
        heartbeat_seconds=settings.waiting_room.heartbeat_seconds,
    )
    gauges = Gauges(backends.reads, backends.store, backends.client)
    endpoints = [
        *_watching_endpoints(settings, backends, queue, streams, gauges),
        *_selling_endpoints(settings, backends, reserve, settled),
    ]
    if tracing is not None:
        endpoints = [traced(endpoint, tracing) for endpoint in endpoints]
    health = HealthCheck(backends.pool, backends.ledger, backends.directory, keyring)
    queue_gauges = QueueGauges(backends.reads, backends.rooms.store)
    cors = Cors(settings.gateway.cors_origins) if settings.gateway.cors_origins else None
    app, operators_app = make_apps(
        settings.gateway,
        edge,
        endpoints,
        lambda: SystemHandlers(health, backends.metrics, gauges, queue_gauges),
        cors,
    )
    return Worker(app, operators_app, edge, reserve, backends.metrics, streams, cors)


def _reserve(
    settings: Settings,
    backends: Backends,
    batcher: ReserveBatcher,
    settled: SettledReservations,
    tracing: Tracing | None,
) -> Reserve:
    make: Callable[..., Reserve] = Reserve
    if tracing is not None:
        make = partial(TracedReserve, tracing)
    return make(
        backends.directory,
        batcher,
        settled,
        backends.metrics,
        QueueGate(backends.rooms),
        buyer_quota=_buyer_quota(settings.rate_limit),
        deadline_seconds=settings.gateway.request_deadline_seconds,
    )


def _edge(
    settings: Settings,
    metrics: GatewayMetrics,
    verifier: TokenVerifier,
    batcher: ReserveBatcher,
    parts: AsyncExitStack,
) -> Edge:
    """The edge, with the load and the rate limits that it enforces."""
    gateway = settings.gateway
    load = Load(gateway.max_in_flight, gateway.max_queue_milliseconds / 1000, batcher.queue_seconds)
    parts.push_async_callback(cancelled, asyncio.create_task(load.watch()))
    limits = RateLimits(settings.rate_limit, gateway.workers)
    return Edge(
        verifier, metrics, load, limits if limits.enabled else None, client_addresses(gateway)
    )


def _buyer_quota(limits: RateLimitSettings) -> Quota | None:
    """The rate limit of one buyer, as answers show it in their headers; None: no limit."""
    if not limits.buyer_per_second:
        return None
    return Quota("buyer", limits.buyer_requests, limits.buyer_window_seconds)


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
        max_lines=settings.gateway.batch_max_lines,
        max_in_flight=settings.gateway.max_in_flight,
        max_queue_seconds=settings.gateway.max_queue_milliseconds / 1000,
    )


def _watching_endpoints(
    settings: Settings, backends: Backends, queue: Queue, streams: QueueStreams, gauges: Gauges
) -> list[AnyEndpoint]:
    """The endpoints of the waiting room and of operators' lists and figures."""
    directory, reads = backends.directory, backends.reads
    waiting = QueueOperations(queue, directory, backends.ledger)
    handlers = QueueHandlers(queue, streams, waiting, settings.gateway.max_body_bytes)
    snapshots = Snapshots(directory, backends.store, reads)
    overview = Overview(directory, reads, snapshots, backends.metrics, gauges, waiting)
    return [
        *queue_endpoints(handlers),
        *queue_operation_endpoints(handlers),
        *overview_endpoints(OverviewHandlers(overview)),
    ]


def _selling_endpoints(
    settings: Settings, backends: Backends, reserve: Reserve, settled: SettledReservations
) -> list[AnyEndpoint]:
    """The endpoints of reservations, sales, operations and the demo shop."""
    most = settings.gateway.max_body_bytes
    bounds = PartitionBounds(
        outbox_bound=settings.inventory.outbox_bound_events,
        sweep_bound=settings.inventory.sweep_bound,
    )
    ledger, reads, directory = backends.ledger, backends.reads, backends.directory
    snapshots = Snapshots(directory, backends.store, reads)
    service = ReservationService(directory, backends.store, settled)
    reservations = ReservationHandlers(reserve, service, OrderBook(reads), most)
    sales = SaleHandlers(
        SaleOperations(directory, ledger, backends.store, bounds, backends.rooms),
        StockAdjustments(directory, ledger, backends.store),
        Settlement(directory, ledger, snapshots, backends.client),
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
