"""The processes of the contestants that are not dropgate, and their database."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from config.waiting import poll_until
from loadtest.bench.designs.postgres.queries import QUERIES
from loadtest.bench.machine.ports import HOST, free_port, listens
from loadtest.bench.machine.stack import Stack, StackError
from loadtest.client.http_client import HttpClient, Response

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.02
DATABASE = "bench"  # as in the section create_database


@dataclass(slots=True)
class DesignProcess:
    """One worker of a reference design; may be killed and started again on its port."""

    name: str
    stack: Stack
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The base URL of the worker."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The pid of the process that runs now. Raises StackError before the first start."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process.pid

    async def start(self) -> None:
        """Start the worker and wait until it listens. Raises StackError."""
        running = self.stack.running
        environment = {
            "BENCH_PORT": str(self.port),
            # Database 1: the same server as dropgate's, so the same durability.
            "BENCH_REDIS": running.redis.rpartition("/")[0] + "/1",
            "BENCH_POSTGRES": running.postgres.rpartition("/")[0] + "/" + DATABASE,
            "BENCH_SECRET": running.auth_secret,
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest.bench.designs", self.name),
            env={**os.environ, **environment},
        )
        if not await poll_until(self._listens, START_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError(f"{self.name} does not listen")

    async def _listens(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise StackError(f"{self.name} ended with status {self._process.returncode}")
        return await listens(self.port)

    async def kill(self) -> None:
        """End the worker as a crash would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End the worker by SIGTERM; kill it where that takes longer than ten seconds."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def call(self, method: str, path: str) -> Response:
        """Make one of the bench's own calls (`/bench/...`). Raises StackError."""
        client = HttpClient(self.url, 1)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
            response = await client.request(head.encode())
        finally:
            await client.close()
        if response.status != 200:
            raise StackError(f"{self.name}: {method} {path}: {response.status}")
        return response


@asynccontextmanager
async def run_designs(
    stack: Stack, names: Sequence[str]
) -> AsyncIterator[dict[str, DesignProcess]]:
    """Run a worker of each named design, on a new database of the stack's Postgres; by name.

    All run at once: a worker that nobody calls costs nothing.
    """
    if names:
        await _create_database(stack)
    processes = {name: DesignProcess(name, stack) for name in names}
    try:
        for process in processes.values():
            await process.start()
        yield processes
    finally:
        for process in processes.values():
            await process.stop()


async def _create_database(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.running.postgres)
    try:
        await connection.execute(QUERIES["create_database"])
    finally:
        await connection.close()
