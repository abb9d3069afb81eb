"""Cross-origin calls: the origins whose pages may call the API (`gateway.cors_origins`).

Off unless origins are named. Tokens travel in a header and never in a cookie, so credentials are
not allowed. A page of any other origin cannot read the answers: they carry no permission.
"""

from collections.abc import Collection

from aiohttp import web

from gateway.api.contract.endpoints import OpenCall
from gateway.api.contract.problems import Answer, Header

PREFLIGHT_SECONDS = 7200
_MAY_SEND = (
    "Authorization, Content-Type, Idempotency-Key, Admission-Token, Queue-Ticket, Last-Event-ID, "
    "If-Match, If-None-Match, Prefer, X-Request-Id"
)
_MAY_READ = (
    "Location, ETag, Idempotent-Replayed, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, "
    "Date, Age"
)


class Cors:
    """Permissions for the named origins."""

    def __init__(self, origins: str) -> None:
        """`origins`: separated by commas, as in the setting."""
        self._origins = frozenset(part.strip() for part in origins.split(",") if part.strip())

    def headers(self, origin: str | None) -> tuple[Header, ...]:
        """Headers of an answer to a page of this origin; Vary makes caches keep origins apart."""
        if origin not in self._origins or origin is None:
            return (("Vary", "Origin"),)
        return (
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _MAY_READ),
        )

    async def permit(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers to an aiohttp response right before it is sent."""
        headers = response.headers
        if "Access-Control-Allow-Origin" in headers:
            return  # this answer is already open to every origin
        for name, value in self.headers(request.headers.get("Origin")):
            known = headers.get(name)
            headers[name] = f"{known}, {value}" if known and name == "Vary" else value

    def preflight(self, methods: Collection[str]) -> OpenCall:
        """The call that answers OPTIONS for a path with these methods."""
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
