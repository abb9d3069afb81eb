"""The edge between aiohttp and the calls: request ids, time, tokens, scopes, problems.

One middleware, nothing per request that can be made once. Everything that leaves carries
X-Request-Id and is either an Answer or a Problem; what nobody expected is a problem too, with its
trace in the log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from gateway.admission.tokens import InvalidToken, Principal, Scope, TokenVerifier
from gateway.api.ledger import LedgerUnavailable
from gateway.api.problems import Answer, Problem, forbidden, not_found
from gateway.api.reserving import recovering
from gateway.inventory.errors import Overloaded, Recovering, UnknownOutcome

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.api.metrics import GatewayMetrics


Call = Callable[[web.Request, Principal], Awaitable[Answer]]
StreamCall = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]
OpenCall = Callable[[web.Request], Awaitable[Answer]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
ROUTE: Final = web.RequestKey("route", str)

# Unique without asking the kernel for randomness each time; an id is a name, not a secret.
_PROCESS: Final = token_hex(6)
_requests = count(1)
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_log = structlog.get_logger(__name__)


def request_id_of(given: str | None) -> str:
    """The caller's request id where it is sane, else a new one."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given
    return f"{_PROCESS}-{next(_requests):x}"


def response_of(answer: Answer, request_id: str) -> web.Response:
    """The answer for aiohttp."""
    response = web.Response(
        status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
    )
    headers = response.headers
    for name, value in answer.headers:
        headers[name] = value
    headers["X-Request-Id"] = request_id
    if headers.get("Connection") == "close":
        response.force_close()
    return response


class Edge:
    """Wraps the calls for the router; `middleware` is the application's only one."""

    def __init__(
        self, verifier: TokenVerifier, metrics: GatewayMetrics, *, max_in_flight: int
    ) -> None:
        """`max_in_flight`: requests at once, above which the answer is 503 overloaded."""
        self._verifier = verifier
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    def guarded(self, route: str, call: Call, *scopes: Scope) -> Handler:
        """A handler for callers whose token has one of the scopes."""
        allowed = frozenset(scopes)

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            principal = self.authorized(request.headers.get("Authorization"), allowed)
            return response_of(await call(request, principal), request[REQUEST_ID])

        return handle

    def streaming(self, route: str, call: StreamCall, *scopes: Scope) -> Handler:
        """As `guarded`, for a call that answers for itself, over time; while it does, it is no work
        in flight: it has a bound of its own.
        """
        allowed = frozenset(scopes)

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            principal = self.authorized(request.headers.get("Authorization"), allowed)
            self._in_flight -= 1
            try:
                return await call(request, principal)
            finally:
                self._in_flight += 1

        return handle

    def open(self, route: str, call: OpenCall) -> Handler:
        """A handler that takes no token."""

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route
            return response_of(await call(request), request[REQUEST_ID])

        return handle

    def authorized(self, authorization: str | None, allowed: frozenset[Scope]) -> Principal:
        """The caller. Raises Problem unauthenticated or forbidden."""
        try:
            principal = self._verifier.verify_header(authorization)
        except InvalidToken as error:
            raise Problem("unauthenticated", f"{error}.") from error
        if principal.scope not in allowed:
            raise forbidden(" or ".join(sorted(allowed)))
        return principal

    def enter(self) -> None:
        """A request came in; `leave` must follow."""
        self._in_flight += 1
        self._metrics.began()

    def check_load(self) -> None:
        """Raise Problem overloaded past the bound on requests at once."""
        if self._in_flight > self._max_in_flight:
            raise Problem("overloaded", "Too many requests at once.")

    def leave(self, route: str, status: int, began: float) -> None:
        """A request was answered; `began` is the time.perf_counter() of its start."""
        self._in_flight -= 1
        self._metrics.ended(route, status, time.perf_counter() - began)

    def problem(self, error: BaseException, request_id: str) -> Problem:
        """What the caller is told of an error; what nobody expected is logged with its trace."""
        problem = problem_of(error)
        if problem.kind.status == 500:
            _log.error("request_failed", request_id=request_id, exc_info=error)
        return problem

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware's work."""
        began = time.perf_counter()
        request_id = request_id_of(request.headers.get("X-Request-Id"))
        request[REQUEST_ID] = request_id
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
            self.check_load()
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the boundary: everything becomes a problem
            problem = self.problem(error, request_id)
            return response_of(problem.answer(request_id), request_id)


def problem_of(error: BaseException) -> Problem:
    """What a caller is told of an error."""
    match error:
        case Problem():
            return error
        case web.HTTPException():
            return _http_problem(error)
        case web.RequestPayloadError():
            return Problem("malformed", "The body cannot be read.")
        case Overloaded():
            return Problem("overloaded", "Too much is under way.")
        case Recovering() | UnknownOutcome():
            return recovering()
        case LedgerUnavailable():
            return Problem("recovering", "The ledger does not answer now.")
    return Problem("internal", "Something failed that should not have.")


def _http_problem(error: web.HTTPException) -> Problem:
    """What the router, or aiohttp itself, refuses."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"This resource takes {allowed}."
        return Problem("method_not_allowed", detail, headers=(("Allow", allowed),))
    if isinstance(error, web.HTTPNotFound):
        return not_found("resource")
    return Problem("malformed", f"{error.reason}.")
