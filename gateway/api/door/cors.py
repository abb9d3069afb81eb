"""Cross-origin calls: which shops' pages may call the API from a browser (`gateway.cors_origins`).

Off unless origins are named. Tokens travel in a header and never in a cookie, so credentials are
not allowed, and an origin that is not named learns nothing: its answers carry no permission.
"""

from collections.abc import Collection

from aiohttp import web

from gateway.api.contract.endpoints import OpenCall
from gateway.api.contract.problems import Answer, Header

PREFLIGHT_SECONDS = 7200
_MAY_SEND = (
    "Authorization, Content-Type, Idempotency-Key, Admission-Token, Queue-Ticket, Last-Event-ID, "
    "If-Match, If-None-Match, X-Request-Id"
)
_MAY_READ = (
    "Location, ETag, Idempotent-Replayed, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, "
    "Date, Age"
)


class Cors:
    """Permissions for the named origins."""

    def __init__(self, origins: str) -> None:
        """`origins` with commas, as the setting has them."""
        self._origins = frozenset(part.strip() for part in origins.split(",") if part.strip())

    def headers(self, origin: str | None) -> tuple[Header, ...]:
        """What an answer to a page of this origin carries; a cache must keep origins apart."""
        if origin not in self._origins or origin is None:
            return (("Vary", "Origin"),)
        return (
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _MAY_READ),
        )

    async def permit(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers to an answer of the general way, right before it goes out."""
        headers = response.headers
        if "Access-Control-Allow-Origin" in headers:
            return  # for everybody already
        for name, value in self.headers(request.headers.get("Origin")):
            known = headers.get(name)
            headers[name] = f"{known}, {value}" if known and name == "Vary" else value

    def preflight(self, methods: Collection[str]) -> OpenCall:
        """The call that answers OPTIONS for a path which takes these methods."""
        allowed = ", ".join(sorted(methods))

        async def answer(request: web.Request) -> Answer:
            headers: tuple[Header, ...] = (("Allow", allowed),)
            if request.headers.get("Origin") in self._origins:
                headers = (
                    *headers,
                    ("Access-Control-Allow-Methods", allowed),
                    ("Access-Control-Allow-Headers", _MAY_SEND),
                    ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
                )
            return Answer(204, b"", headers)

        return answer
