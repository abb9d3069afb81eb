"""One gateway worker: opens its sockets, serves its application, closes both again."""

import asyncio
import resource
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from config.settings import GatewaySettings, Settings
from config.waiting import cancelled
from gateway.admission.client_address import ClientAddresses
from gateway.api.door.connections import ConnectionBounds, Connections
from gateway.api.door.hot_path import HotPath, HotServer
from gateway.api.door.protocol import ProblemServer
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.parts import assemble, client_addresses

STOP_SECONDS = 4.0
LINGERING_SECONDS = 1.0
LINE_MAX_BYTES = 4096
FIELD_MAX_BYTES = 4096
HEADERS_MAX = 64
# File descriptors of a worker that are not clients' connections.
OWN_FILES = 256

_log = structlog.get_logger()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish requests under way, within 5 s.

    Starts even when Postgres or Redis cannot be reached (`/readyz` says so) and connects as soon as
    they can. Raises DurabilityMismatch when Redis keeps less than the settings promise, ValueError
    without a token secret, OSError when the port is taken.
    """
    async with AsyncExitStack() as parts:
        worker = await assemble(settings, parts)
        gateway = settings.gateway
        _allow_files(gateway.max_connections + OWN_FILES)
        connections = _connections(gateway, worker.metrics, client_addresses(gateway))
        watch = asyncio.create_task(connections.watch())
        parts.push_async_callback(cancelled, watch)
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
    """Raise the soft limit of file descriptors; log a warning where the hard limit is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning("file_limit_low", limit=most, wanted=wanted)


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
    """Serve the application on the port; `make` builds the server. Returns the addresses."""
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
    """The server of the connections, with the application behind it."""
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
