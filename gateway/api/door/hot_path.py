"""The hot path: a shorter way through the gateway for `POST /v1/sales/{sale}/reservations`.

During a drop nearly every request is a reserve, and aiohttp's general way (a task, a request and a
response object per request) costs more than the gateway's own work. So an idle connection that gets
exactly one such request, complete and plainly written, answers it here: aiohttp's parser, `Edge`
and `Reserve` do their work as ever, but with callbacks and bytes. All other requests go the general
way: pipelined or partial requests, other paths, `Expect`, HTTP/1.0, a sale whose facts are not
cached. One conformance test runs over both ways; `make bench` measures them.

The module depends on internals of aiohttp's RequestHandler: while a request is answered here, the
connection's task is kept asleep by removing its waiter (`_waiter`), so that answers stay in the
order of their requests. aiohttp is pinned, and the tests of this module fail when the internals
change.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from gateway.admission.shedding import Work
from gateway.admission.tokens import Scope
from gateway.api.contract.problems import Answer, Problem, Shed
from gateway.api.door.answers import request_id_of, response_bytes
from gateway.api.door.connections import Connections
from gateway.api.door.cors import Cors
from gateway.api.door.edge import Edge
from gateway.api.door.protocol import GuardedProtocol, ProblemServer
from gateway.api.reservations.reserve import Ask, Reserve
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.errors import InventoryError, Overloaded
from gateway.inventory.keys import SALE_ID
from gateway.inventory.outcomes import ReserveReply

_PATH = re.compile(f"/v1/sales/({SALE_ID.pattern})/reservations")


class HotPath:
    """The parts that all hot connections of a worker share."""

    def __init__(
        self, edge: Edge, reserve: Reserve, cors: Cors | None = None, *, max_body_bytes: int
    ) -> None:
        """`max_body_bytes`: longer bodies go the general way, which refuses them."""
        self.edge = edge
        self.reserve = reserve
        self.cors = cors
        self.max_body_bytes = max_body_bytes
        self.insisting: set[asyncio.Task[None]] = set()

    def facts_for(self, message: object, payload: Any) -> SaleFacts | None:
        """The sale's facts when the hot path can answer this request, else None."""
        if not isinstance(message, RawRequestMessage) or message.method != "POST":
            return None
        match = _PATH.fullmatch(message.path)
        plain = (
            match is not None
            and message.version == HttpVersion11
            and not (message.should_close or message.upgrade or message.compression)
            and payload.is_eof()
            and payload.total_bytes <= self.max_body_bytes
            and "Expect" not in message.headers
        )
        return self.reserve.facts_at_hand(match[1]) if match is not None and plain else None


class _Exchange:
    """One request on the hot path, from its headers to its answer."""

    __slots__ = ("_ask", "_began", "_line", "_path", "_permission", "_request_id")

    def __init__(self, path: HotPath, headers: CIMultiDictProxy[str], line: HotProtocol) -> None:
        self._path = path
        self._line = line
        self._began = time.perf_counter()
        self._request_id = request_id_of(headers.get("X-Request-Id"))
        self._ask: Ask | None = None
        cors = path.cors
        self._permission = () if cors is None else cors.headers(headers.get("Origin"))

    def start(self, facts: SaleFacts, headers: CIMultiDictProxy[str], body: bytes) -> None:
        """Check the request and send it to the batcher; a refusal is answered at once."""
        edge, reserve = self._path.edge, self._path.reserve
        edge.enter()
        try:
            principal = edge.authorized(headers.get("Authorization"), _SCOPES)
            edge.admit("reserve", principal, self._line.peer, headers, facts.sale_id)
            ask = self._ask = reserve.ask(facts, headers, body, principal)
            try:
                reply = reserve.send(ask)
            except Overloaded:  # too many reserves wait for their turn
                raise edge.shed(Work.RESERVING, principal, self._line.peer, headers) from None
            reply.add_done_callback(self._replied)
        except Exception as error:  # noqa: BLE001 - the boundary: everything becomes a problem
            self._finish(edge.problem(error, self._request_id))
            if isinstance(error, Shed) and error.rests:
                self._line.rest(error.seconds)

    def _replied(self, reply: asyncio.Future[ReserveReply]) -> None:
        path, ask = self._path, self._ask
        assert ask is not None  # noqa: S101 - set before the request was sent
        try:
            self._finish(path.reserve.answer(ask, reply.result()))
        except InventoryError as error:
            task = asyncio.ensure_future(self._insist(ask, error))
            path.insisting.add(task)
            task.add_done_callback(path.insisting.discard)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            self._finish(path.edge.problem(error, self._request_id))

    async def _insist(self, ask: Ask, doubt: InventoryError) -> None:
        try:
            self._finish(await self._path.reserve.insist(ask, doubt))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            self._finish(self._path.edge.problem(error, self._request_id))

    def _finish(self, outcome: Answer | Problem) -> None:
        answer = outcome.answer(self._request_id) if isinstance(outcome, Problem) else outcome
        self._path.edge.leave("reserve", answer.status, self._began)
        closing = ("Connection", "close") in answer.headers
        response = response_bytes(answer, self._request_id, self._permission)
        self._line.respond(response, closing=closing)


_SCOPES = frozenset({Scope.BUYER, Scope.STOREFRONT})


class HotProtocol(GuardedProtocol):
    """One connection, which answers plain reserves on the hot path."""

    __slots__ = ("_hot_path", "_parked")

    def __init__(
        self, hot_path: HotPath, connections: Connections, server: web.Server, **options: Any
    ) -> None:
        """`options` are those of web.RequestHandler."""
        super().__init__(connections, server, **options)
        self._hot_path = hot_path
        self._parked: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Protocol callback."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self._messages or self._paused:
            super().data_received(data)  # a request is under way, or the caller does not read
            return
        self._waiter = None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if not self._messages:
            self.head_grows(len(data))
            return
        self._head_bytes = 0
        if len(self._messages) == 1 and not self._buffer_paused and self._take(waiter):
            return
        if not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Protocol callback; the connection's task ends like that of an idle connection."""
        if self._parked is not None:
            self._waiter, self._parked = self._parked, None
        super().connection_lost(exc)

    def _take(self, waiter: asyncio.Future[None]) -> bool:
        """Answer the waiting request here, if it is a plain reserve; returns whether it is."""
        message, payload = self._messages[0]
        facts = self._hot_path.facts_for(message, payload)
        if facts is None or self._parser is None or self._manager is None:
            return False
        assert isinstance(message, RawRequestMessage)  # noqa: S101 - `facts_for` has seen it
        self._messages.popleft()
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self._waiter, self._parked = None, waiter
        self._request_in_progress = True
        exchange = _Exchange(self._hot_path, message.headers, self)
        exchange.start(facts, message.headers, payload.read_nowait(-1))
        return True

    def respond(self, response: bytes, *, closing: bool) -> None:
        """Send the answer of the request under way, and make the connection idle again."""
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        waiter, transport = self._parked, self.transport
        if waiter is None or transport is None:
            return  # the caller has left; a retry finds the outcome
        self._waiter, self._parked = waiter, None
        transport.write(response)
        if closing or self._close or self._force_close:
            self.force_close()
            return
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        if self._messages and not waiter.done():
            waiter.set_result(None)


class HotServer(ProblemServer):
    """Makes a HotProtocol for each connection."""

    def __init__(
        self,
        hot_path: HotPath,
        connections: Connections,
        handler: Any,
        request_factory: Any,
        **options: Any,
    ) -> None:
        """`handler` and `request_factory` are those of the general way."""
        super().__init__(connections, handler, request_factory, **options)
        self._hot_path = hot_path

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return HotProtocol(self._hot_path, self._guard, self, loop=self._loop, **self._options)
