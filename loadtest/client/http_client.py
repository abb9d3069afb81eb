"""A lean HTTP/1.1 client: keep-alive connections, one request at a time on each.

The load generator shares the machine with the servers it loads, so the client does only what these
calls need: no pipelining, no redirects, no compression, answers with Content-Length alone.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

REQUEST_TIMEOUT_SECONDS = 25.0  # a reconciliation waits up to 20 s for its result
ANSWER_MAX_BYTES = 8_388_608


class NoAnswerError(Exception):
    """The connection ended, or the time was up, before the whole answer was there."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `head` is the status line and the headers in lower case."""

    status: int
    head: bytes
    body: bytes

    def has(self, header: bytes) -> bool:
        """Whether a header is there, whatever its value; `header` in lower case."""
        return b"\r\n" + header + b":" in self.head


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Response] | None = None
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's is one but in name
        self.usable = True

    def connection_lost(self, _exc: Exception | None) -> None:
        self.usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswerError("connection closed"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length_at = head.find(b"\r\ncontent-length:")
        if length_at < 0:
            self._fail("an answer without Content-Length")
            return
        length = int(head[length_at + 17 :].split(b"\r\n", 1)[0])
        if length > ANSWER_MAX_BYTES:
            self._fail("an answer that is too long")
            return
        if len(self._buffer) < end + 4 + length:
            return
        response = Response(int(head[9:12]), head, bytes(self._buffer[end + 4 : end + 4 + length]))
        self._buffer.clear()
        if b"\r\nconnection: close" in head:
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(response)

    def _fail(self, reason: str) -> None:
        self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswerError(reason))

    def close(self) -> None:
        """End the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def send(self, request: bytes) -> asyncio.Future[Response]:
        """Write a request; the future gets its answer."""
        if self._transport is None:
            raise NoAnswerError("not connected")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting


class HttpClient:
    """At most `connections` connections to one address, so at most as many requests under way."""

    def __init__(self, url: str, connections: int) -> None:
        """Connect lazily to `http://host:port`."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise ValueError(f"not http://host:port: {url}")
        self._host, self._port = parts.hostname, parts.port
        self.authority = f"{parts.hostname}:{parts.port}"
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(connections)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except OSError as error:
            raise NoAnswerError(str(error)) from error
        return connection

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._connect()

    async def request(self, request: bytes) -> Response:
        """The answer to one request; raises NoAnswerError, and then the outcome is not known."""
        async with self._free:
            connection = None
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                    connection = await self._take()
                    response = await connection.send(request)
            except TimeoutError as error:
                if connection is not None:
                    connection.close()
                raise NoAnswerError(f"nothing for {REQUEST_TIMEOUT_SECONDS} s") from error
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            if connection.usable:
                self._idle.append(connection)
            return response

    async def send_and_cut(self, request: bytes) -> None:
        """Send on a connection of its own and cut it without waiting for the answer."""
        async with self._free:
            connection = await self._connect()
            answer = connection.send(request)
            await asyncio.sleep(0)  # the request is written in this turn, the cut comes after it
            connection.close()
            answer.cancel()

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # lets the transports finish closing
