"""What all servers have in common: start, readiness, stop, and a restart on its address."""

import abc
import asyncio
import os
import random
import signal
import socket
import subprocess
from pathlib import Path

from config.stack.process import POLL_SECONDS, Child, StackError
from config.waiting import poll_until

HOST = "127.0.0.1"
# The file with the kernel's range of ports for outgoing connections.
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT = 10_000
EPHEMERAL_LOW_DEFAULT = 32_768
PORT_TRIES = 200
RETRY_START_SECONDS = 0.1

_given_ports: set[int] = set()


def free_port() -> int:
    """A free loopback port outside the kernel's range for outgoing connections.

    A server that is restarted must find its port free again. A port of the ephemeral range could
    meanwhile be taken by an outgoing connection, even by a client's own attempt to reconnect to it.
    """
    try:
        highest = int(EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        highest = EPHEMERAL_LOW_DEFAULT
    if highest - LOWEST_PORT < PORT_TRIES:
        highest = 65_536
    chooser = random.SystemRandom()
    for _ in range(PORT_TRIES):
        port = chooser.randrange(LOWEST_PORT, highest)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise StackError(f"no free port on {HOST} in {LOWEST_PORT}..{highest} after {PORT_TRIES} tries")


class Server(abc.ABC):
    """A real server process on loopback with its data in `folder`.

    The constructor fixes the port (0: any free port), so the address survives every restart.
    `start` may be called again after any end of the process, kill -9 included.
    """

    name: str
    start_timeout_seconds: float = 180.0  # of a process that runs and does not serve yet
    retry_timeout_seconds: float = 30.0  # of a process that ends again after every start
    stop_timeout_seconds: float = 5.0
    stop_signal: signal.Signals = signal.SIGTERM
    # File descriptors that the server keeps open, such as the lock of its data folder.
    inherited: tuple[int, ...] = ()

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The child started last. Raises `StackError` before the first start."""
        if self._child is None:
            raise StackError(f"{self.name} was never started")
        return self._child

    @property
    def pid(self) -> int:
        """The pid of the server itself (redis-server, postmaster, JVM)."""
        return self.child.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process object of the server itself."""
        return self.child.process

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._child is not None and self._child.alive

    async def start(self) -> None:
        """Start the server and return when it serves. Raises `StackError` with its log's end."""
        if self.alive:
            return
        await self.prepare()
        loop = asyncio.get_running_loop()
        began_at = loop.time()

        async def serves() -> bool:
            self._child = self.make_child()
            self._child.inherited = self.inherited
            self._child.start()
            if await self._serves_within(began_at + self.start_timeout_seconds - loop.time()):
                return True
            # It ended at once: leftovers of a killed run may still hold its port or its memory.
            await self.between_tries()
            return False

        if not await poll_until(
            serves, self.retry_timeout_seconds, first_seconds=RETRY_START_SECONDS
        ):
            tail = self.child.log_tail()
            await self.stop()
            raise StackError(
                f"{self.name} did not start within {loop.time() - began_at:.0f} s. "
                f"Its log is {self.child.log}; the end of it:\n{tail}"
            )
        await self.after_ready()

    async def stop(self) -> None:
        """Stop the server cleanly, by force after `stop_timeout_seconds`. Idempotent."""
        if self._child is not None:
            await self._child.stop(self.stop_timeout_seconds, self.stop_signal)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the server's own process, as a fault would."""
        os.kill(self.pid, number)

    async def _serves_within(self, timeout_seconds: float) -> bool:
        """Whether the server just started answers within the time; False as soon as it ends."""

        async def decided() -> bool:
            return not self.alive or await self.ready()

        return await poll_until(decided, timeout_seconds, first_seconds=POLL_SECONDS) and self.alive

    @abc.abstractmethod
    def make_child(self) -> Child:
        """The process to run."""

    @abc.abstractmethod
    async def ready(self) -> bool:
        """Whether the server answers a harmless request now; never raises for a silent server."""

    async def prepare(self) -> None:
        """Make the data folder; called before every start."""
        self.folder.mkdir(parents=True, exist_ok=True)

    async def after_ready(self) -> None:  # noqa: B027 - nothing to do is a fine answer
        """Make what belongs into the serving server, such as a database. Idempotent."""

    async def between_tries(self) -> None:  # noqa: B027 - nothing to do is a fine answer
        """Prepare the next try after a start that ended at once."""
