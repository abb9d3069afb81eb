"""The application: the router over the endpoints, behind one edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.api.docs import docs_page
from gateway.api.openapi import openapi_document
from gateway.api.problems import Answer
from gateway.api.protocol import check_expectation
from gateway.api.routes import Endpoint, OpenEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from gateway.api.handlers.system import SystemHandlers
    from gateway.api.responses import Edge, OpenCall


def make_app(
    edge: Edge,
    endpoints: Sequence[Endpoint | OpenEndpoint],
    system: SystemHandlers,
    *,
    max_body_bytes: int,
) -> web.Application:
    """The application; its one middleware is the edge."""

    @web.middleware
    async def edge_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await edge.handle(request, handler)

    app = web.Application(middlewares=[edge_middleware], client_max_size=max_body_bytes)
    for endpoint in endpoints:
        if isinstance(endpoint, Endpoint):
            handler = edge.guarded(endpoint.route, endpoint.call, *endpoint.scopes)
        else:
            handler = edge.open(endpoint.route, endpoint.call)
        _add(app, endpoint.method, endpoint.path, handler)
    document = Answer(200, openapi_document(endpoints))
    page = Answer(200, docs_page(endpoints), content_type="text/html; charset=utf-8")
    for path, call in (
        ("/livez", system.livez),
        ("/readyz", system.readyz),
        ("/metrics", system.metrics),
        ("/openapi.json", _always(document)),
        ("/docs", _always(page)),
    ):
        _add(app, "GET", path, edge.open("system", call))
    return app


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    if method == "GET":
        # Answers HEAD too.
        app.router.add_get(path, handler, expect_handler=check_expectation)
    else:
        app.router.add_route(method, path, handler, expect_handler=check_expectation)


def _always(answer: Answer) -> OpenCall:
    async def call(_request: web.Request) -> Answer:
        return answer

    return call
