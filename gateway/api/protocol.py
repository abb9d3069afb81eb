"""What aiohttp answers before any handler is asked: a request it cannot even read.

Such answers are problems with a request id too. A connection that sent one is closed.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion11, web

from gateway.api.problems import Problem
from gateway.api.responses import problem_of, request_id_of, response_of


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


class ProblemServer(web.Server):
    """Makes a ProblemProtocol for each connection."""

    def __init__(self, handler: Any, request_factory: Any, **options: Any) -> None:
        """`options` are those of web.RequestHandler; `handler` takes what the factory makes."""
        super().__init__(
            handler, request_factory=request_factory, handler_cancellation=False, **options
        )
        self._options = options

    def __call__(self) -> web.RequestHandler:
        """A connection's protocol."""
        return ProblemProtocol(self, loop=self._loop, **self._options)


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
