"""The description of one call; the router and the OpenAPI document are built from it."""

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
    """One call: its path, who may make it, its request and its answer.

    `route` names the call in the metrics; `body_optional`: an empty body counts as an empty object;
    `also_as`: media types a caller may ask for instead of JSON; `also_statuses`: further statuses
    with this answer; `answer_headers`: headers an answer may carry besides X-Request-Id; `streams`:
    the call writes its own response over time, and each event's data is an `answer`. `codes` omits
    the problems that every call may answer (description/answers.py).
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
    """A call without a token; the fields have their meaning from Endpoint."""

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
