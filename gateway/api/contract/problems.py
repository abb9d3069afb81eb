"""Problems (RFC 9457): every answer that is not a success, in one catalogue.

A problem's `code` is stable, and clients decide by it; `title` is fixed per code, `detail` tells
the case. Further members carry what a client can act on (`own_holds`, `sku`, ...). A problem that
may pass on another try carries Retry-After, spread so that callers turned away together do not come
back together.
"""

import random
from dataclasses import dataclass
from typing import Any

import msgspec

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_MAX_SECONDS = 3

Header = tuple[str, str]


class Answer(msgspec.Struct, frozen=True):
    """A response, independent of any web framework."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the catalogue of problems."""

    code: str
    status: int
    title: str


_KINDS = (
    Kind("malformed", 400, "The request cannot be read"),
    Kind("idempotency_key_required", 400, "An Idempotency-Key header is required"),
    Kind("unauthenticated", 401, "A valid token is required"),
    Kind("forbidden", 403, "The token's scope does not allow this call"),
    Kind("not_admitted", 403, "The waiting room has not admitted this buyer"),
    Kind("not_found", 404, "There is no such thing, or it is not yours"),
    Kind("method_not_allowed", 405, "The resource does not take this method"),
    Kind("request_timeout", 408, "The request did not arrive in time"),
    Kind("sold_out", 409, "Not enough units are left"),
    Kind("limit_exceeded", 409, "The buyer's limit is reached"),
    Kind("sale_not_open", 409, "The sale does not take reservations now"),
    Kind("already_resolved", 409, "The reservation was resolved otherwise"),
    Kind("invalid_state", 409, "The state does not allow this call"),
    Kind("floor_violation", 409, "The stock would fall below its floor"),
    Kind("hold_expired", 410, "The hold has expired"),
    Kind("version_mismatch", 412, "The sale has another version"),
    Kind("too_large", 413, "The request's body is too large"),
    Kind("unsupported_media_type", 415, "The request's body must be JSON"),
    Kind("invalid", 422, "The request is not valid"),
    Kind("idempotency_key_reused", 422, "The Idempotency-Key was used for another request"),
    Kind("rate_limited", 429, "Too many requests"),
    Kind("internal", 500, "The server failed; the request id finds the reason in its log"),
    Kind("recovering", 503, "The state is being recovered; try again"),
    Kind("ledger_behind", 503, "The ledger is behind; try again"),
    Kind("overloaded", 503, "Too much work at once; try again"),
)
CATALOGUE = {kind.code: kind for kind in _KINDS}
_RETRIABLE_STATUS = frozenset({429, 503})

_encode = msgspec.json.Encoder().encode


class Problem(Exception):
    """Ends a request with an entry of the catalogue. Raises KeyError for an unknown code."""

    def __init__(
        self, code: str, detail: str, *, headers: tuple[Header, ...] = (), **members: Any
    ) -> None:
        """`members` extend the body; their values are anything that msgspec can encode."""
        super().__init__(detail)
        self.kind = CATALOGUE[code]
        self.detail = detail
        self.headers = headers
        self.members = members

    def answer(self, request_id: str) -> Answer:
        """The response, with Retry-After and WWW-Authenticate where the status needs them."""
        body = {
            "type": f"urn:dropgate:problem:{self.kind.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "code": self.kind.code,
            "detail": self.detail,
            "request_id": request_id,
            **self.members,
        }
        headers = self.headers
        named = any(name == "Retry-After" for name, _ in headers)
        if self.kind.status in _RETRIABLE_STATUS and not named:
            seconds = random.randint(1, RETRY_AFTER_MAX_SECONDS)  # noqa: S311 - spread, no secret
            headers = (*headers, ("Retry-After", str(seconds)))
        if self.kind.status == 401:
            headers = (*headers, ("WWW-Authenticate", 'Bearer realm="dropgate"'))
        return Answer(self.kind.status, _encode(body), headers, CONTENT_TYPE)


class Shed(Problem):
    """The problem of a request refused for load; Retry-After is `seconds`. `rests`: the connection
    is not read for that time.
    """

    def __init__(self, detail: str, *, rests: bool) -> None:
        """`detail` and `rests` as the class says; `seconds` is random."""
        self.seconds = random.randint(1, RETRY_AFTER_MAX_SECONDS)  # noqa: S311 - spread, no secret
        self.rests = rests
        super().__init__("overloaded", detail, headers=(("Retry-After", str(self.seconds)),))


def forbidden(scopes: str) -> Problem:
    """The problem for a token whose scope the call does not allow."""
    return Problem("forbidden", f"This call needs a token of scope {scopes}.")


def not_found(what: str) -> Problem:
    """The problem for a thing that does not exist or is another caller's: the answers are equal."""
    return Problem("not_found", f"There is no such {what}.")


def recovering() -> Problem:
    """The problem while Redis does not answer; a retry with the same key finds the outcome."""
    return Problem("recovering", "The reservation's outcome is not known yet; ask again.")
