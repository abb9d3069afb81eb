"""Queue calls: parse, make one domain call, render."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.bodies import Decoder, read_body
from gateway.api.rendering import json_answer
from gateway.api.schemas import EmptyBody, QueueLeft

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.admission.tokens import Principal
    from gateway.api.problems import Answer
    from gateway.api.queue import Queue
    from gateway.api.queue_streams import QueueStreams

_empty = Decoder(EmptyBody)
TICKET = "Queue-Ticket"
_NOT_KEPT = ("Cache-Control", "no-store")


class QueueHandlers:
    """See the module."""

    def __init__(self, queue: Queue, streams: QueueStreams, max_body_bytes: int) -> None:
        """`max_body_bytes` bounds every body here."""
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
