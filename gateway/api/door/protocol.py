"""The protocol of one connection: its bounds, and problems for requests that aiohttp cannot read.

Every such answer is a problem with a request id, and its connection is closed.
"""

import asyncio
from typing import Any, cast

from aiohttp import HttpVersion11, web

from gateway.api.contract.problems import Answer, Problem
from gateway.api.door.answers import problem_of, request_id_of, response_bytes, response_of
from gateway.api.door.connections import Connections

# Bound of an unfinished head; clients and proxies send far less.
HEAD_MAX_BYTES = 32 * 1024
# The share of Retry-After for which a connection rests: a caller who returns in time is not
# delayed.
REST_SHARE = 0.9


class ProblemProtocol(web.RequestHandler):
    """One connection; answers errors outside of the calls with problems."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that could not be read, or that failed outside of the edge."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had already begun, so no other can be sent")
        if status >= 500:
            problem = problem_of(exc) if isinstance(exc, Exception) else problem_of(Exception())
        else:
            problem = Problem("malformed", f"The request is not HTTP: {_first_line(message)}")
        if problem.kind.status == 500:
            self.log_exception("request_failed", exc_info=exc)
        request_id = request_id_of(request.headers.get("X-Request-Id"))
        response = response_of(problem.answer(request_id), request_id)
        response.force_close()
        return response


class GuardedProtocol(ProblemProtocol):
    """One of a worker's counted connections; measures how long it keeps the worker waiting."""

    __slots__ = (
        "_connections",
        "_ending_since",
        "_head_bytes",
        "_head_since",
        "_line",
        "_paused_since",
        "peer",
    )

    def __init__(self, connections: Connections, server: web.Server, **options: Any) -> None:
        """`options` are those of web.RequestHandler."""
        super().__init__(server, **options)
        self._connections = connections
        self._line: asyncio.Transport | None = None
        self.peer = ""
        self._head_since = self._paused_since = self._ending_since = 0.0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Protocol callback; a connection above the bounds gets a problem and is closed."""
        self._line = line = cast("asyncio.Transport", transport)
        peer = line.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        problem = self._connections.admit(self, self.peer)
        if problem is None:
            super().connection_made(transport)
            return
        self._force_close = True
        self._tell(problem)
        line.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Protocol callback."""
        self._connections.forget(self)
        super().connection_lost(exc)
        self._line = None

    def pause_writing(self) -> None:
        """Protocol callback: the caller does not read its answers."""
        super().pause_writing()
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Protocol callback."""
        super().resume_writing()
        self._paused_since = 0.0

    def head_grows(self, size: int) -> None:
        """Count bytes of an unfinished request head; refuses a head above HEAD_MAX_BYTES."""
        if not self._head_bytes:
            self._head_since = self._loop.time()
        self._head_bytes += size
        if self._head_bytes > HEAD_MAX_BYTES:
            self.refuse(
                Problem("malformed", f"The request's head has more than {HEAD_MAX_BYTES} bytes.")
            )

    def head_for(self, now: float) -> float:
        """Seconds since the first byte of an unfinished head; 0 when no head has begun."""
        return now - self._head_since if self._head_bytes else 0.0

    def unread_for(self, now: float) -> float:
        """Seconds for which the caller has not taken an answer; 0 when nothing waits."""
        if self._paused_since:
            return now - self._paused_since
        if self._line is not None and self._line.is_closing():
            self._ending_since = self._ending_since or now
            return now - self._ending_since
        return 0.0

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer; 0 while a request is under way."""
        if self._waiter is None or self._waiter.done() or self._messages:
            return 0.0
        return now - (self._next_keepalive_close_time - self._keepalive_timeout)

    def rest(self, seconds: float) -> None:
        """Read no request for most of these seconds; nobody who keeps to Retry-After is delayed."""
        self._pause_reading_for_buffer()
        self._loop.call_later(REST_SHARE * seconds, self._rested)

    def refuse(self, problem: Problem) -> None:
        """Send the problem on a connection without a request under way, and close it."""
        self._tell(problem)
        self.force_close()

    def abort(self) -> None:
        """Drop the connection with everything unread."""
        if self._line is not None:
            self._line.abort()

    def _rested(self) -> None:
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _tell(self, problem: Problem) -> None:
        request_id = request_id_of(None)
        answer = problem.answer(request_id)
        closing = Answer(
            answer.status,
            answer.body,
            (*answer.headers, ("Connection", "close")),
            answer.content_type,
        )
        if self._line is not None:
            self._line.write(response_bytes(closing, request_id))


class ProblemServer(web.Server):
    """Makes a GuardedProtocol for each connection."""

    def __init__(
        self, connections: Connections, handler: Any, request_factory: Any, **options: Any
    ) -> None:
        """`options` are those of web.RequestHandler, `handler` handles the factory's requests."""
        super().__init__(
            handler, request_factory=request_factory, handler_cancellation=False, **options
        )
        self._guard = connections  # `_connections` is aiohttp's own
        self._options = options

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return GuardedProtocol(self._guard, self, loop=self._loop, **self._options)


async def check_expectation(request: web.Request) -> None:
    """Send 100 Continue to a caller who waits for it. Raises Problem for any other expectation."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise Problem("malformed", "Expect: only 100-continue is supported.")
    if request.version < HttpVersion11:
        return
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # aiohttp counts the interim response as output; it is no part of the answer that follows.
    request.writer.output_size = 0


def _first_line(message: str | None) -> str:
    return (message or "unreadable").strip().splitlines()[0][:200]
