"""A pipelining Redis client as thin as can be, so that the server is measured."""

import socket
from collections.abc import Sequence
from typing import Any

import hiredis

RECEIVE_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0

Argument = bytes | str | int


class RefusedError(Exception):
    """The server answered a command with an error."""


def pack(*arguments: Argument) -> bytes:
    """A command in the protocol's own form."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # stub: one argument
    return packed


class Client:
    """One blocking connection."""

    def __init__(self, host: str, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def command(self, *arguments: Argument) -> Any:
        """One command and its reply. Raises RefusedError."""
        self.send(pack(*arguments))
        return self.receive()

    def send(self, packed: bytes) -> None:
        """Send without waiting; one thread may send while another receives."""
        self._socket.sendall(packed)

    def receive(self) -> Any:
        """The next reply. Raises RefusedError."""
        return self._receive(1)[0]

    def cpu_seconds(self) -> float:
        """CPU time the server has used, to the microsecond."""
        info: bytes = self.command("INFO", "cpu")
        fields = dict(line.split(b":") for line in info.splitlines() if b":" in line)
        return float(fields[b"used_cpu_user"]) + float(fields[b"used_cpu_sys"])

    def pipeline(self, commands: Sequence[bytes], depth: int) -> None:
        """Packed commands, `depth` at a time under way; the replies are checked for errors only."""
        for start in range(0, len(commands), depth):
            together = commands[start : start + depth]
            self._socket.sendall(b"".join(together))
            self._receive(len(together))

    def _receive(self, count: int) -> list[Any]:
        replies: list[Any] = []
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is False:
                chunk = self._socket.recv(RECEIVE_BYTES)
                if not chunk:
                    raise RefusedError("the server closed the connection")
                self._reader.feed(chunk)
                continue
            if isinstance(reply, hiredis.ReplyError):
                raise RefusedError(str(reply))
            replies.append(reply)
        return replies
