"""Turns answers and errors into responses: request ids, response bytes, problems."""

from __future__ import annotations

import re
from http import HTTPStatus
from itertools import count
from secrets import token_hex
from typing import Final

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from gateway.api.contract.problems import Answer, Header, Problem, not_found, recovering
from gateway.api.ledger.connections import LedgerUnavailable
from gateway.inventory.errors import Overloaded, Recovering, UnknownOutcome

# Request ids are unique without a random number for each: an id is a name, not a secret.
_PROCESS: Final = token_hex(6)
_requests = count(1)
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id_of(given: str | None) -> str:
    """The caller's request id where it is well-formed, else a new id."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given
    return f"{_PROCESS}-{next(_requests):x}"


def response_of(answer: Answer, request_id: str) -> web.Response:
    """The answer as an aiohttp response, with its request id."""
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


def problem_of(error: BaseException) -> Problem:
    """The problem that a caller gets for an error; `internal` for an unexpected error."""
    match error:
        case Problem():
            return error
        case web.HTTPException():
            return _http_problem(error)
        case web.RequestPayloadError():
            return Problem("malformed", "The body cannot be read.")
        case Overloaded():
            return Problem("overloaded", "Too many requests are under way.")
        case UnknownOutcome():
            return recovering()
        case Recovering():
            return Problem("recovering", "This part of the sale is being recovered; ask again.")
        case LedgerUnavailable():
            return Problem("recovering", "The ledger does not answer; ask again.")
    return Problem("internal", "An unexpected error; the log has its cause.")


def _http_problem(error: web.HTTPException) -> Problem:
    """The problem for a refusal by the router or by aiohttp itself."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(
            "method_not_allowed", f"This resource accepts {allowed}.", headers=(("Allow", allowed),)
        )
    if isinstance(error, web.HTTPNotFound):
        return not_found("resource")
    return Problem("malformed", f"{error.reason}.")


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def response_bytes(answer: Answer, request_id: str, more: tuple[Header, ...] = ()) -> bytes:
    """The bytes of the response on the hot path; the headers are those of `response_of`."""
    extra = "".join([f"{name}: {value}\r\n" for name, value in answer.headers + more])
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\n{extra}X-Request-Id: {request_id}\r\n"
        f"Content-Length: {len(answer.body)}\r\nDate: {rfc822_formatted_time()}\r\n"
        f"Server: {SERVER_SOFTWARE}\r\n\r\n"
    )
    return head.encode() + answer.body
