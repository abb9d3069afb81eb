"""One long-lived, pipelined connection to Redis for scripts.

Replies come back in the order of the calls, so each call is a slot in a queue. A caller that gave
up leaves its slot in place: its reply is read and dropped, and no other call's reply moves. A reply
that its caller does not recognise means that this order is broken: the connection is dropped at
once.

Every connection asks its server for its run id before its first call; scripts get this id as an
argument and refuse to write when another run is the trusted one.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import quote, unquote, urlsplit

import hiredis
import structlog

from gateway.inventory.errors import Recovering, UnknownOutcome

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A server's address and login; as a URL `redis[s]://[user:password@]host:port/db`."""

    host: str
    port: int
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address of a URL. Raises ValueError for another scheme or a database not a number."""
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss"} or parts.hostname is None:
            raise ValueError("redis.url: must be redis://host:port/database")
        return cls(
            host=parts.hostname,
            port=parts.port or 6379,
            database=int(parts.path.lstrip("/") or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
        )

    @property
    def url(self) -> str:
        """The URL that `parse` turns into this address."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{login}{host}:{self.port}/{self.database}"


class ScriptConnection(asyncio.Protocol):
    """One connection's protocol, made by `open_connection`; `run_id` is that of the server."""

    def __init__(self, address: RedisAddress, reply_timeout_seconds: float) -> None:
        """`reply_timeout_seconds`: a server silent for this long during a call is given up."""
        self.address = address
        self.run_id = b""
        self._reply_timeout_seconds = reply_timeout_seconds
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._slots: deque[asyncio.Future[object]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self._replies = 0
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def in_flight(self) -> int:
        """Calls sent and not yet answered."""
        return len(self._slots)

    @property
    def usable(self) -> bool:
        """Whether calls may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, *command: bytes | str | int) -> asyncio.Future[object]:
        """Send one command; its future gets the reply (also a hiredis.ReplyError), or
        UnknownOutcome when the connection breaks first. Raises Recovering when nothing was sent.
        """
        (slot,) = self.send_packed(hiredis.pack_command(cast("tuple[bytes]", command)), 1)
        return slot

    def send_packed(self, commands: bytes, count: int) -> list[asyncio.Future[object]]:
        """As `send`, for `count` commands that are in the protocol's bytes already."""
        if self._transport is None or self._transport.is_closing():
            raise Recovering("the connection to Redis is closed")
        slots: list[asyncio.Future[object]] = [self._loop.create_future() for _ in range(count)]
        self._slots.extend(slots)
        self._transport.write(commands)
        if self._watchdog is None:
            self._watch()
        return slots

    def close(self) -> None:
        """Close at once, as planned; every call under way raises UnknownOutcome."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self, reason: str) -> None:
        """Close at once, because of a fault; every call under way raises UnknownOutcome."""
        if self._transport is not None and not self._transport.is_closing():
            _log.warning("redis_connection_dropped", reason=reason, in_flight=len(self._slots))
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Protocol callback."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass

    def data_received(self, data: bytes) -> None:
        """Protocol callback: hand each complete reply to the oldest slot."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _NOTHING:
            if not self._slots:
                self.drop("a reply without a call")
                return
            self._replies += 1
            slot = self._slots.popleft()
            if not slot.done():
                slot.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Protocol callback: calls under way get UnknownOutcome."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        while self._slots:
            slot = self._slots.popleft()
            if not slot.done():
                slot.set_exception(UnknownOutcome(f"connection to Redis lost: {error or 'closed'}"))
                slot.exception()  # retrieved, since a caller that gave up will not do so
        if not self.closed.done():
            self.closed.set_result(None)

    def _watch(self) -> None:
        self._watchdog = self._loop.call_later(
            self._reply_timeout_seconds, self._check_progress, self._replies
        )

    def _check_progress(self, replies_before: int) -> None:
        self._watchdog = None
        if not self._slots:
            return
        if self._replies == replies_before:
            self.drop(f"no reply for {self._reply_timeout_seconds} s")
        else:
            self._watch()


_NOTHING = object()


async def open_connection(
    address: RedisAddress, *, connect_timeout_seconds: float, reply_timeout_seconds: float
) -> ScriptConnection:
    """Connect, log in, and read the server's run id.

    Raises OSError, TimeoutError, UnknownOutcome or Recovering when the server is not available.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(connect_timeout_seconds):
        _, connection = await loop.create_connection(
            lambda: ScriptConnection(address, reply_timeout_seconds),
            address.host,
            address.port,
            ssl=address.tls or None,
        )
        try:
            if address.password is not None:
                login = (address.username, address.password)
                await _expect_ok(connection, "AUTH", *(part for part in login if part))
            if address.database:
                await _expect_ok(connection, "SELECT", address.database)
            connection.run_id = await _read_run_id(connection)
        except BaseException:
            connection.drop("not ready for calls")
            raise
    return connection


async def _expect_ok(connection: ScriptConnection, *command: str | int) -> None:
    reply = await connection.send(*command)
    if isinstance(reply, hiredis.ReplyError):
        raise Recovering(f"Redis refused {command[0]}: {reply}")


async def _read_run_id(connection: ScriptConnection) -> bytes:
    reply = await connection.send("INFO", "server")
    if isinstance(reply, bytes):
        for line in reply.splitlines():
            if line.startswith(b"run_id:"):
                return line.removeprefix(b"run_id:").strip()
    raise Recovering(f"Redis does not report its run id: {reply!r}")
