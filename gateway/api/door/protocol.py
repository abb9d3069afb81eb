"""What aiohttp answers before any handler is asked: a request it cannot even read.

Such answers are problems with a request id too. A connection that sent one is closed.
"""

import asyncio
from typing import Any, cast

from aiohttp import HttpVersion11, web

from gateway.api.contract.problems import Answer, Problem
from gateway.api.door.answers import problem_of, request_id_of, response_bytes, response_of
from gateway.api.door.connections import Connections

# Of what has come of a head that is not whole: far above what clients and proxies send.
HEAD_MAX_BYTES = 32 * 1024
# Of Retry-After: who comes back in time is not to wait again.
REST_SHARE = 0.9


class ProblemProtocol(web.RequestHandler):
    """One connection; tells its own errors as problems."""

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
            raise ConnectionError("the answer had begun: it cannot become another one")
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
    """One of a worker's counted connections; answers how long it has kept the worker waiting."""

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
        """Protocol callback; one connection too many is told so and closed."""
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
        """Bytes came for an idle connection, and no request is whole."""
        if not self._head_bytes:
            self._head_since = self._loop.time()
        self._head_bytes += size
        if self._head_bytes > HEAD_MAX_BYTES:
            detail = f"The request's head may have {HEAD_MAX_BYTES} bytes."
            self.refuse(Problem("malformed", detail))

    def head_for(self, now: float) -> float:
        """Seconds since the first byte of a head that is not whole yet; else 0."""
        return now - self._head_since if self._head_bytes else 0.0

    def unread_for(self, now: float) -> float:
        """Seconds that the caller has not taken what it was told; else 0."""
        if self._paused_since:
            return now - self._paused_since
        if self._line is not None and self._line.is_closing():
            self._ending_since = self._ending_since or now
            return now - self._ending_since
        return 0.0

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer, where nothing is asked now; else 0."""
        if self._waiter is None or self._waiter.done() or self._messages:
            return 0.0
        return now - (self._next_keepalive_close_time - self._keepalive_timeout)

    def rest(self, seconds: float) -> None:
        """Read no request before the caller was told to come back: who waits does not notice."""
        self._pause_reading_for_buffer()
        self._loop.call_later(REST_SHARE * seconds, self._rested)

    def refuse(self, problem: Problem) -> None:
        """Tell the caller of a connection that has no request under way, and close it."""
        self._tell(problem)
        self.force_close()

    def abort(self) -> None:
        """Drop the connection with all that was not read."""
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
        """`options` are those of web.RequestHandler; `handler` takes what the factory makes."""
        super().__init__(
            handler, request_factory=request_factory, handler_cancellation=False, **options
        )
        self._guard = connections  # `_connections` is aiohttp's own
        self._options = options

    def __call__(self) -> web.RequestHandler:
        """A connection's protocol."""
        return GuardedProtocol(self._guard, self, loop=self._loop, **self._options)


async def check_expectation(request: web.Request) -> None:
    """Ask for the body of a caller who waits for that; nothing else can be expected of us."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise Problem("malformed", "Expect: only 100-continue is known.")
    if request.version < HttpVersion11:
        return
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What was written is no part of the answer that follows.
    request.writer.output_size = 0


def _first_line(message: str | None) -> str:
    return (message or "unreadable").strip().splitlines()[0][:200]
