"""The HTTP front that all reference designs share: token, key, body, answer; lean on purpose."""

import asyncio
import time
from http import HTTPStatus

import asyncpg
import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from config.waiting import poll_until
from loadtest.bench.designs.design import BUSY, MOST_AT_ONCE, Design, Reply, TokenCheck
from loadtest.bench.sale import RESERVE_PATH, SKU

STATUS = {
    "accepted": HTTPStatus.CREATED,
    "replayed": HTTPStatus.CREATED,
    "sold_out": HTTPStatus.CONFLICT,
    "limit_exceeded": HTTPStatus.CONFLICT,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
}


REST_TIMEOUT_SECONDS = 20.0  # below the time-out of the bench's own HTTP client
POLL_SECONDS = 0.005
# Errors of a slow or lost server; the caller may try again.
FAILURES = (RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class _Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class _Body(msgspec.Struct, frozen=True):
    lines: list[_Line]


class _Answer(msgspec.Struct, frozen=True):
    reservation_id: str
    order_id: str
    buyer_id: str
    lines: list[_Line]
    state: str


class _Problem(msgspec.Struct, frozen=True):
    code: str
    status: int


class Front:
    """Handlers around one design."""

    def __init__(self, design: Design, secret: str) -> None:
        """Serve `design`, checking tokens with `secret`."""
        self._design = design
        self._tokens = TokenCheck(secret)
        self._body = msgspec.json.Decoder(_Body)
        self._encoder = msgspec.json.Encoder()
        self._in_flight = 0
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    def add_routes(self, app: web.Application) -> None:
        """Serve the reservations, and the three calls of the bench itself."""
        app.router.add_post(RESERVE_PATH, self.reserve)
        app.router.add_post("/bench/reset/{stock}", self.reset)
        app.router.add_get("/bench/audit", self.audit)
        app.router.add_post("/bench/rest", self.rest)

    async def reserve(self, request: web.Request) -> web.Response:
        """Check, reserve, answer."""
        buyer_id = self._tokens.buyer(request.headers.get("Authorization", ""), time.time())
        if buyer_id is None:
            return self._problem(HTTPStatus.UNAUTHORIZED, "unauthenticated")
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return self._problem(HTTPStatus.BAD_REQUEST, "idempotency_key_required")
        try:
            body = self._body.decode(await request.read())
        except msgspec.DecodeError:
            return self._problem(HTTPStatus.BAD_REQUEST, "malformed")
        if len(body.lines) != 1 or body.lines[0].sku != SKU or body.lines[0].quantity < 1:
            return self._problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid")
        self._in_flight += 1
        try:
            async with self._places:
                reply = await self._design.reserve(buyer_id, key, body.lines[0].quantity)
        except FAILURES:
            reply = BUSY
        finally:
            self._in_flight -= 1
        return self._answer(reply, buyer_id, body.lines)

    def _answer(self, reply: Reply, buyer_id: str, lines: list[_Line]) -> web.Response:
        status = STATUS[reply.outcome]
        if status is not HTTPStatus.CREATED:
            return self._problem(status, reply.outcome)
        made = reply.reservation_id
        answer = _Answer(made, made, buyer_id, lines, "held")
        return web.Response(
            status=status, body=self._encoder.encode(answer), content_type="application/json"
        )

    def _problem(self, status: HTTPStatus, code: str) -> web.Response:
        return web.Response(
            status=status,
            body=self._encoder.encode(_Problem(code, status)),
            content_type="application/problem+json",
        )

    async def reset(self, request: web.Request) -> web.Response:
        """Forget everything and hold as many units as the path says."""
        await self._design.reset(int(request.match_info["stock"]))
        return web.Response(body=b"{}", content_type="application/json")

    async def rest(self, _request: web.Request) -> web.Response:
        """Answer once no request is under way, or 503 after a time-out; callers may have left."""
        if not await poll_until(self._is_idle, REST_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            return self._problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy")
        return web.Response(body=b"{}", content_type="application/json")

    async def _is_idle(self) -> bool:
        return self._in_flight == 0

    async def audit(self, _request: web.Request) -> web.Response:
        """Answer with the books."""
        books = await self._design.audit()
        return web.Response(body=self._encoder.encode(books), content_type="application/json")
