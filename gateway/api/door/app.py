"""The application: a router over the endpoints, with the edge as its middleware."""

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.api.contract.endpoints import AnyEndpoint, Call, Endpoint, OpenCall, StreamCall
from gateway.api.door.cors import Cors
from gateway.api.door.edge import SYSTEM, Edge
from gateway.api.door.protocol import check_expectation


def make_app(
    edge: Edge,
    endpoints: Sequence[AnyEndpoint],
    *,
    max_body_bytes: int,
    pages: Sequence[tuple[str, OpenCall]] = (),
    cors: Cors | None = None,
) -> web.Application:
    """The application; its only middleware is the edge. `pages` are (path, call) pairs; with `cors`
    None no other origin may call.
    """

    @web.middleware
    async def edge_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await edge.handle(request, handler)

    app = web.Application(middlewares=[edge_middleware], client_max_size=max_body_bytes)
    for endpoint in endpoints:
        if isinstance(endpoint, Endpoint) and endpoint.streams:
            call = cast("StreamCall", endpoint.call)
            handler = edge.streaming(endpoint.route, call, *endpoint.scopes)
        elif isinstance(endpoint, Endpoint):
            handler = edge.guarded(endpoint.route, cast("Call", endpoint.call), *endpoint.scopes)
        else:
            handler = edge.open(endpoint.route, endpoint.call)
        _add(app, endpoint.method, endpoint.path, handler)
    for path, page in pages:
        _add(app, "GET", path, edge.open("page", page))
    if cors is not None:
        _allow_origins(app, edge, cors, endpoints)
    return app


def _allow_origins(
    app: web.Application, edge: Edge, cors: Cors, endpoints: Sequence[AnyEndpoint]
) -> None:
    methods: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for endpoint in endpoints:
        methods[endpoint.path].add(endpoint.method)
        if endpoint.method == "GET":
            methods[endpoint.path].add("HEAD")
    for path, taken in methods.items():
        _add(app, "OPTIONS", path, edge.open(SYSTEM, cors.preflight(taken)))
    app.on_response_prepare.append(cors.permit)


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    if method == "GET":
        # A GET route of aiohttp answers HEAD too.
        app.router.add_get(path, handler, expect_handler=check_expectation)
    else:
        app.router.add_route(method, path, handler, expect_handler=check_expectation)
