"""A TCP proxy inside the test that can cut, hold back and forge what a server says.

`async with FaultyProxy(port) as proxy:` listens on `proxy.port` and forwards to `port`.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass
class _Flow:
    """One connection: what its replies wait for."""

    gate: asyncio.Event


class FaultyProxy:
    """See the module. Faults act on every connection through it."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._replies_flow = asyncio.Event()
        self._replies_flow.set()
        self._replication_flows = asyncio.Event()
        self._replication_flows.set()
        self._refuses = False
        self._injected = b""
        self.cuts = 0

    @property
    def port(self) -> int:
        """Where to connect instead of the server."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Reset every connection, whatever is on its way."""
        self.cuts += len(self._transports) // 2
        for writer in list(self._transports):
            writer.transport.abort()

    def hold_replies(self) -> None:
        """Requests reach the server; its replies are held back."""
        self._replies_flow.clear()

    def pass_replies(self) -> None:
        """Undo `hold_replies`."""
        self._replies_flow.set()

    def hold_replication(self) -> None:
        """Replicas receive nothing more from a Redis behind this proxy, which still hears them."""
        self._replication_flows.clear()

    def refuse(self) -> None:
        """Cut every connection and let nobody in: the server is cut off."""
        self._refuses = True
        self.cut()

    def accept(self) -> None:
        """Undo `refuse`."""
        self._refuses = False

    def forward_to(self, port: int) -> None:
        """Lead new connections to another server; those to the server before are cut."""
        self._target_port = port
        self.cut()

    def inject_reply(self, forged: bytes) -> None:
        """Put bytes in front of the server's next reply."""
        self._injected = forged

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.pass_replies()
        self._replication_flows.set()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self._target_port
            )
        except OSError:
            writer.transport.abort()  # nobody listens: as without a proxy in between
            return
        self._transports |= {writer, server_writer}
        flow = _Flow(self._replies_flow)
        for pump in (
            self._requests(reader, server_writer, flow),
            self._replies(server_reader, writer, flow),
        ):
            task = asyncio.ensure_future(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flow: "_Flow"
    ) -> None:
        try:
            while data := await source.read(65536):
                if b"PSYNC" in data:
                    flow.gate = self._replication_flows
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # a cut, ours or the peer's: both directions end
        finally:
            self._end(sink)

    async def _replies(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flow: "_Flow"
    ) -> None:
        try:
            while data := await source.read(65536):
                await flow.gate.wait()
                sink.write(self._injected + data)
                self._injected = b""
                await sink.drain()
        except ConnectionError:
            pass  # a cut, ours or the peer's: both directions end
        finally:
            self._end(sink)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._transports.discard(writer)
        writer.transport.abort()
