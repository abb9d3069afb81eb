"""Queue calls: parse, make one domain call, render."""

from aiohttp import web

from gateway.admission.tokens import SUBJECT_BYTES_MAX, Principal
from gateway.api.calls.callers import caller_of
from gateway.api.contract.bodies import Decoder, check_text, read_body
from gateway.api.contract.endpoints import Call
from gateway.api.contract.problems import Answer
from gateway.api.contract.rendering import json_answer
from gateway.api.contract.requests import LINE_BYTES_MAX, EmptyBody, QueueRateBody, QueueRevokeBody
from gateway.api.contract.schemas import QueueLeft
from gateway.api.queue.audit_page import AUDIT_PAGE
from gateway.api.queue.control import QueueOperations
from gateway.api.queue.places import Queue
from gateway.api.queue.streams import QueueStreams

_empty = Decoder(EmptyBody)
_rate = Decoder(QueueRateBody)
_revoke = Decoder(QueueRevokeBody)
TICKET = "Queue-Ticket"
_NOT_KEPT = ("Cache-Control", "no-store")


class QueueHandlers:
    """Handlers of the waiting room's calls, for buyers and for operators."""

    def __init__(
        self,
        queue: Queue,
        streams: QueueStreams,
        operations: QueueOperations,
        max_body_bytes: int,
    ) -> None:
        """`max_body_bytes` bounds the body of every request."""
        self._operations = operations
        self._queue = queue
        self._streams = streams
        self._max_body_bytes = max_body_bytes

    async def join(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/queue."""
        _empty.decode_optional(request.headers, await read_body(request, self._max_body_bytes))
        ticket = request.headers.get(TICKET)
        found = await self._queue.join(request.match_info["sale"], principal.subject, ticket)
        return json_answer(200, found, _NOT_KEPT)

    async def look(self, request: web.Request, principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/queue."""
        ticket = request.headers.get(TICKET)
        found = await self._queue.look(request.match_info["sale"], principal.subject, ticket)
        return json_answer(200, found, _NOT_KEPT)

    async def leave(self, request: web.Request, principal: Principal) -> Answer:
        """DELETE /v1/sales/{sale}/queue."""
        left = await self._queue.leave(request.match_info["sale"], principal.subject)
        return json_answer(200, QueueLeft(left))

    async def events(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """GET /v1/sales/{sale}/queue/events."""
        return await self._streams.serve(request, principal)

    async def figures(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/queue/figures."""
        return json_answer(200, await self._operations.figures(request.match_info["sale"]))

    def controlling(self, verb: str) -> Call:
        """POST /v1/sales/{sale}/queue/pause · queue-all · resume."""

        async def control(request: web.Request, principal: Principal) -> Answer:
            _empty.decode_optional(request.headers, await read_body(request, self._max_body_bytes))
            sale_id, caller = request.match_info["sale"], caller_of(request, principal)
            return json_answer(200, await self._operations.control(sale_id, verb, caller))

        return control

    async def set_rate(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/queue/rate."""
        raw = await read_body(request, self._max_body_bytes)
        body = _rate.decode(request.headers, raw)
        sale_id, caller = request.match_info["sale"], caller_of(request, principal)
        return json_answer(200, await self._operations.set_rate(sale_id, body.per_second, caller))

    async def revoke(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/queue/revoke."""
        raw = await read_body(request, self._max_body_bytes)
        body = _revoke.decode(request.headers, raw)
        buyer_id = check_text("buyer_id", body.buyer_id, SUBJECT_BYTES_MAX)
        reason = check_text("reason", body.reason, LINE_BYTES_MAX)
        sale_id, caller = request.match_info["sale"], caller_of(request, principal)
        return json_answer(200, await self._operations.revoke(sale_id, buyer_id, reason, caller))

    async def draw(self, request: web.Request) -> Answer:
        """GET /v1/sales/{sale}/queue/draw: for everybody."""
        found = await self._operations.draw(request.match_info["sale"])
        return json_answer(200, found, ("Cache-Control", "public, max-age=1"))

    async def audit(self, _request: web.Request) -> Answer:
        """GET /queue/audit: a page that checks a draw in the reader's own browser."""
        return AUDIT_PAGE
