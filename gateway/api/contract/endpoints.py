"""What one call of the HTTP API is: the router and the OpenAPI document are both made from this."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.admission.tokens import Principal, Scope
from gateway.api.contract.problems import Answer

Call = Callable[[web.Request, Principal], Awaitable[Answer]]
StreamCall = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]
OpenCall = Callable[[web.Request], Awaitable[Answer]]
REQUEST_ID: Final = web.RequestKey("request_id", str)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call: where it is, who may make it, what goes in and comes out.

    `route` names it in the metrics; `body_optional` where an empty body is an empty object;
    `also_as` are the media types the answer may be asked for in beside JSON; `also_statuses` are
    further statuses with the same answer, `answer_headers` what an answer may carry beside
    X-Request-Id; `streams` where the call answers for itself, over time: each event's data is an
    `answer`. `codes` leaves out what any call may answer (description/answers.py).
    """

    method: str
    path: str
    route: str
    summary: str
    call: Call | StreamCall
    scopes: tuple[Scope, ...]
    answer: type | None
    codes: tuple[str, ...]
    status: int = 200
    body: type | None = None
    body_optional: bool = False
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    media_type: str = "application/json"
    also_as: tuple[str, ...] = ()
    also_statuses: tuple[int, ...] = ()
    answer_headers: tuple[str, ...] = ()
    streams: bool = False
    required_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """A call that takes no token; the fields are those of Endpoint."""

    method: str
    path: str
    route: str
    summary: str
    call: OpenCall
    answer: type | None = None
    codes: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    also_statuses: tuple[int, ...] = ()
    answer_headers: tuple[str, ...] = ()


AnyEndpoint = Endpoint | OpenEndpoint
