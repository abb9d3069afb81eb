"""Which calls each port serves, when operators have a port of their own (`gateway.ops_port`).

A stolen operator's token is then useless on the public port: operators' calls and /metrics do not
exist there, and calls that operators share with others refuse operators' tokens. The operators'
port has no calls of buyers and shops.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from aiohttp import web

from config.settings import GatewaySettings
from gateway.admission.tokens import Scope
from gateway.api.calls.system import SystemHandlers
from gateway.api.calls.table import system_endpoints
from gateway.api.contract.endpoints import AnyEndpoint, Endpoint
from gateway.api.door.app import make_app
from gateway.api.door.cors import Cors
from gateway.api.door.edge import Edge
from gateway.api.door.pages import page_calls

_CALLS_OF_OPERATORS = frozenset({"/metrics"})
_PAGES_OF_OPERATORS = ("/ops", "/web/ops")


def make_apps(
    gateway: GatewaySettings,
    edge: Edge,
    endpoints: Sequence[AnyEndpoint],
    make_system: Callable[[], SystemHandlers],
    cors: Cors | None,
) -> tuple[web.Application, web.Application | None]:
    """The application of the public port, and that of the operators' port or None. Each application
    describes itself, so `make_system` is called once for each.
    """
    make = partial(make_app, edge, max_body_bytes=gateway.max_body_bytes)
    pages = page_calls() if gateway.pages else ()
    system = make_system()
    everything = [*endpoints, *system_endpoints(system)]
    if gateway.ops_port is None:
        system.describe(everything)
        return make(everything, pages=pages, cors=cors), None
    public = public_endpoints(everything)
    system.describe(public)
    own_system = make_system()
    operators = operators_endpoints([*endpoints, *system_endpoints(own_system)])
    own_system.describe(operators)
    public_pages = [page for page in pages if not page[0].startswith(_PAGES_OF_OPERATORS)]
    return make(public, pages=public_pages, cors=cors), make(operators, pages=pages)


def public_endpoints(endpoints: Iterable[AnyEndpoint]) -> list[AnyEndpoint]:
    """The endpoints of the public port: all but the operators'."""
    found: list[AnyEndpoint] = []
    for endpoint in endpoints:
        if not isinstance(endpoint, Endpoint):
            if endpoint.path not in _CALLS_OF_OPERATORS:
                found.append(endpoint)
            continue
        scopes = tuple(scope for scope in endpoint.scopes if scope is not Scope.OPS)
        if scopes:
            found.append(replace(endpoint, scopes=scopes))
    return found


def operators_endpoints(endpoints: Iterable[AnyEndpoint]) -> list[AnyEndpoint]:
    """The endpoints of the operators' port: operators' calls, and calls without a token."""
    return [
        replace(endpoint, scopes=(Scope.OPS,)) if isinstance(endpoint, Endpoint) else endpoint
        for endpoint in endpoints
        if not isinstance(endpoint, Endpoint) or Scope.OPS in endpoint.scopes
    ]
