"""The edge between aiohttp and the calls: request ids, time, tokens, scopes, problems.

One middleware; whatever can be made once is not made per request. Every response carries
X-Request-Id and is an Answer or a Problem; an unexpected error becomes the problem `internal`, with
its trace in the log.
"""

import time
from typing import Final, Protocol, cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from gateway.admission.client_address import ClientAddresses, network_of
from gateway.admission.keyring import KeysUnavailable
from gateway.admission.rate_limits import RateLimits
from gateway.admission.rates import Refusal
from gateway.admission.shedding import Load, Work, work_of
from gateway.admission.tokens import InvalidToken, Principal, Scope, TokenVerifier
from gateway.api.contract.bodies import LOAD
from gateway.api.contract.endpoints import REQUEST_ID, Call, OpenCall, StreamCall
from gateway.api.contract.problems import Problem, Shed, forbidden
from gateway.api.contract.rate_headers import Quota, rate_limited
from gateway.api.door.answers import problem_of, request_id_of, response_of
from gateway.api.metrics.catalogue import GatewayMetrics

SPREAD_SECONDS: Final = 2
# The route of health checks, metrics and preflights: never limited.
SYSTEM: Final = "system"
ROUTE: Final = web.RequestKey("route", str)

_log = structlog.get_logger()


class Resting(Protocol):
    """A connection that can be left unread for a moment."""

    def rest(self, seconds: float) -> None:
        """Read nothing from the connection for so many seconds."""


class Edge:
    """Wraps the calls for the router; `handle` is the application's only middleware."""

    def __init__(
        self,
        verifier: TokenVerifier,
        metrics: GatewayMetrics,
        load: Load,
        limits: RateLimits | None,
        addresses: ClientAddresses,
    ) -> None:
        """`limits` None: no rate limit on this worker."""
        self._verifier = verifier
        self._metrics = metrics
        self._load = load
        self._limits = limits
        self._addresses = addresses

    def guarded(self, route: str, call: Call, *scopes: Scope) -> Handler:
        """A handler for callers whose token has one of the scopes."""
        allowed = frozenset(scopes)

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            principal = self.authorized(request.headers.get("Authorization"), allowed)
            self._admit_request(route, principal, request)
            return response_of(await call(request, principal), request[REQUEST_ID])

        return handle

    def streaming(self, route: str, call: StreamCall, *scopes: Scope) -> Handler:
        """A handler as `guarded` makes it, for a call that streams its own response. An open stream
        does not count as work in flight; streams have a bound of their own.
        """
        allowed = frozenset(scopes)

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            principal = self.authorized(request.headers.get("Authorization"), allowed)
            self._admit_request(route, principal, request)
            with self._load.waiting():
                return await call(request, principal)

        return handle

    def open(self, route: str, call: OpenCall) -> Handler:
        """A handler for callers with or without a token."""

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            if route != SYSTEM:
                self._admit_request(route, None, request)
            return response_of(await call(request), request[REQUEST_ID])

        return handle

    def authorized(self, authorization: str | None, allowed: frozenset[Scope]) -> Principal:
        """The caller behind the token. Raises Problem unauthenticated, forbidden or recovering."""
        try:
            principal = self._verifier.verify_header(authorization)
        except InvalidToken as error:
            raise Problem("unauthenticated", f"{error}.") from error
        except KeysUnavailable as error:
            raise Problem(
                "recovering",
                "The keys that check this token are being fetched; ask again.",
            ) from error
        if principal.scope not in allowed:
            raise forbidden(" or ".join(sorted(allowed)))
        return principal

    def enter(self) -> None:
        """Count a request that came in; `leave` must follow."""
        self._load.in_flight += 1
        self._metrics.began()

    def admit(
        self,
        route: str,
        principal: Principal | None,
        peer: str,
        headers: CIMultiDictProxy[str],
        sale_id: str | None,
    ) -> None:
        """Let the call in. Raises Shed under load, Problem rate_limited above a rate limit.

        `principal` None: the call needs no token; `peer`: the connection's address.
        """
        work = work_of(route, None if principal is None else principal.scope)
        if self._load.sheds(work):
            raise self.shed(work, principal, peer, headers)
        if self._limits is None:
            return
        network = network_of(self._addresses.client_of(peer, headers))
        refusal = self._limits.refusal(principal, network, sale_id, time.monotonic())
        if refusal is not None:
            self._metrics.count_limited(refusal.rate.name)
            raise too_often(refusal)

    def shed(
        self,
        work: Work,
        principal: Principal | None,
        peer: str,
        headers: CIMultiDictProxy[str],
    ) -> Shed:
        """The problem for a call refused under load; counts the refusal."""
        self._metrics.count_shed(work.value)
        shop = principal is not None and principal.scope is Scope.STOREFRONT
        rests = not shop and not self._addresses.proxied(peer, headers)
        return Shed("The gateway is overloaded.", rests=rests)

    def leave(self, route: str, status: int, began: float) -> None:
        """Count an answered request; `began` is the time.perf_counter() of its start."""
        self._load.in_flight -= 1
        self._metrics.ended(route, status, time.perf_counter() - began)

    def problem(self, error: BaseException, request_id: str) -> Problem:
        """The problem for an error; an unexpected error is logged with its trace."""
        problem = problem_of(error)
        if problem.kind.status == 500:
            _log.error("request_failed", request_id=request_id, exc_info=error)
        return problem

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware: answers the request, and counts it."""
        began = time.perf_counter()
        request_id = request_id_of(request.headers.get("X-Request-Id"))
        request[REQUEST_ID] = request_id
        request[LOAD] = self._load
        self.enter()
        status = 500
        try:
            response = await self._answer(request, handler, request_id)
            status = response.status
            return response
        finally:
            self.leave(request.get(ROUTE, "other"), status, began)

    async def _answer(
        self, request: web.Request, handler: Handler, request_id: str
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the boundary: everything becomes a problem
            problem = self.problem(error, request_id)
            if isinstance(problem, Shed) and problem.rests:
                cast("Resting", request.protocol).rest(problem.seconds)
            return response_of(problem.answer(request_id), request_id)

    def _admit_request(self, route: str, principal: Principal | None, request: web.Request) -> None:
        sale_id = request.match_info.get("sale")
        self.admit(route, principal, request.remote or "", request.headers, sale_id)


def too_often(refusal: Refusal) -> Problem:
    """The problem rate_limited, for a limit that the worker itself keeps."""
    rate = refusal.rate
    quota = Quota(rate.name, rate.burst, rate.burst / rate.per_second)
    return rate_limited(
        quota,
        refusal.wait_seconds,
        f"The limit of this {rate.name} is reached; ask again after Retry-After.",
        # Many callers share such a limit; callers refused together must not come back together.
        spread_seconds=SPREAD_SECONDS,
    )
