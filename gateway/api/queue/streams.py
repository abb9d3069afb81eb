"""`GET /v1/sales/{sale}/queue/events`: the place in line as Server-Sent Events.

An event is sent when something changes, a heartbeat when nothing does. An event's id is a digest of
its content, so that a client that reconnects with `Last-Event-ID` gets only news. The gateway
buffers nothing: a client that does not read is cut off by its connection's bounds.
"""

import asyncio
from contextlib import suppress
from hashlib import blake2b

import msgspec
from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.admission.waiting_room.room import Room
from gateway.api.contract.endpoints import REQUEST_ID
from gateway.api.contract.problems import Problem
from gateway.api.contract.schemas import QueueAnswer
from gateway.api.queue.places import Queue
from gateway.inventory.errors import InventoryError

RECONNECT_MILLISECONDS = 2000
_encode = msgspec.json.Encoder().encode
_HEARTBEAT = b":\n\n"


class QueueStreams:
    """The open event streams of one worker."""

    def __init__(self, queue: Queue, *, streams_max: int, heartbeat_seconds: float) -> None:
        """`streams_max`: most streams at once; above it the answer is 503 overloaded."""
        self._queue = queue
        self._streams_max = streams_max
        self._heartbeat_seconds = heartbeat_seconds
        self._closing = asyncio.Event()
        self.open = 0

    def close(self) -> None:
        """End every stream; clients reconnect to another worker."""
        self._closing.set()

    async def serve(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Stream events until the end. Raises Problem only before the response has begun."""
        if self.open >= self._streams_max:
            raise Problem("overloaded", "Too many event streams; poll instead.")
        buyer_id = principal.subject
        room = await self._queue.room_of(request.match_info["sale"])
        number = self._queue.number_of(room, buyer_id, request.headers.get("Queue-Ticket"))
        first = await self._queue.standing(room, buyer_id, number)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                "X-Request-Id": request[REQUEST_ID],
            }
        )
        self.open += 1
        try:
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            with suppress(ConnectionError):
                await self._tell(request, response, room, buyer_id, number, first)
        finally:
            self.open -= 1
        return response

    async def _tell(
        self,
        request: web.Request,
        response: web.StreamResponse,
        room: Room,
        buyer_id: str,
        number: int,
        answer: QueueAnswer,
    ) -> None:
        known = request.headers.get("Last-Event-ID", "")
        await response.write(b"retry: %d\n\n" % RECONNECT_MILLISECONDS)
        silent_seconds = 0.0
        while True:
            identifier = event_id(answer)
            if identifier != known:
                known, silent_seconds = identifier, 0.0
                await response.write(_event("queue", identifier, _encode(answer)))
            elif silent_seconds >= self._heartbeat_seconds:
                silent_seconds = 0.0
                await response.write(_HEARTBEAT)
            if answer.state == "closed" or self._closing.is_set():
                return
            left = self._heartbeat_seconds - silent_seconds
            pause = min(float(answer.poll_after_seconds), max(left, 0.01))
            place = answer.position if answer.state == "waiting" else None
            await self._wait(room, place, pause)
            silent_seconds += pause
            if request.transport is None or request.transport.is_closing():
                return
            room.touch()
            try:
                answer = await self._queue.standing(room, buyer_id, number)
            except Problem as problem:
                body = problem.answer(request[REQUEST_ID]).body
                await response.write(_event("problem", "", body))
                return
            except InventoryError:
                continue  # the room was not read lately: send nothing that may be wrong

    async def _wait(self, room: Room, place: int | None, seconds: float) -> None:
        with room.alarm(place) as alarm:
            waits = [
                asyncio.ensure_future(alarm.wait()),
                asyncio.ensure_future(self._closing.wait()),
            ]
            try:
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()


def event_id(answer: QueueAnswer) -> str:
    """A digest of an answer's content, without estimates and poll intervals."""
    says = (
        answer.state, answer.position, answer.ahead, answer.likely_too_late, answer.admission_token,
    )  # fmt: skip
    return str(int.from_bytes(blake2b(_encode(says), digest_size=7).digest(), "big"))


def _event(name: str, identifier: str, data: bytes) -> bytes:
    head = f"event: {name}\n" + (f"id: {identifier}\n" if identifier else "")
    return head.encode() + b"data: " + data + b"\n\n"
