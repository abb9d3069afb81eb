"""Bytes over a socket, as no client library would send them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from tests.support.waiting import WAIT_SECONDS


@dataclass(frozen=True)
class RawAnswer:
    """One response off the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RawConnection:
    """One connection; made by `raw_connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, source: str | None = None) -> Self:
        """Connect to the port on loopback, from the loopback address `source`."""
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=local))

    def send(self, data: bytes) -> bool:
        """Send bytes; False where the other side has ended the connection."""
        if self.reader.at_eof() or self.reader.exception() or self.writer.is_closing():
            return False
        self.writer.write(data)
        return True

    async def answer(self) -> RawAnswer:
        """The next response with Content-Length; IncompleteReadError where there is none."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {}
            for line in head[1:-2]:
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return RawAnswer(int(head[0].split()[1]), headers, body)

    async def everything(self) -> bytes:
        """All bytes until the other side ends the connection, in whatever way."""
        said = bytearray()
        with suppress(ConnectionError):
            async with asyncio.timeout(WAIT_SECONDS):
                while part := await self.reader.read(65536):
                    said += part
        return bytes(said)

    def abort(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()


@asynccontextmanager
async def raw_connection(port: int, source: str | None = None) -> AsyncIterator[RawConnection]:
    """A connection that is dropped at the end of the block."""
    connection = await RawConnection.open(port, source)
    try:
        yield connection
    finally:
        connection.abort()


def raw_request(
    path: str, body: bytes = b"", *, method: str = "POST", **headers: str | None
) -> bytes:
    """The bytes of a request; a header given as None is left out, underscores are dashes."""
    named: dict[str, str | None] = {"Host": "localhost"}
    if method != "GET":
        named |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in named.items() if value is not None]
    return f"{method} {path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode() + body
