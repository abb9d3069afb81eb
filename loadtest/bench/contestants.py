"""Who takes part over HTTP, and the processes of those who are not dropgate."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loadtest.bench.stack import Stack, StackError
from loadtest.client.http_client import HttpClient, Response
from loadtest.waiting import poll_until

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.02
DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Contestant:
    """`kind`: echo, design or dropgate; `mode` of dropgate: accept, ledger or sold_out."""

    name: str
    title: str
    kind: str
    mode: str = "accept"
    workers: int = 1


CONTESTANTS = (
    Contestant("echo", "aiohttp JSON echo", "echo"),
    Contestant("msgspec_echo", "aiohttp msgspec echo", "echo"),
    Contestant("dropgate_1", "dropgate, 1 worker", "dropgate"),
    Contestant("dropgate_1_sold_out", "dropgate, 1 worker, sold out", "dropgate", "sold_out"),
    Contestant("dropgate_1_ledger", "dropgate, 1 worker, into the ledger", "dropgate", "ledger"),
    Contestant("dropgate_2", "dropgate, 2 workers", "dropgate", workers=2),
    Contestant("redis_evalsha", "one redis-py EVALSHA per request", "design"),
    Contestant("redis_get_decr", "Redis: GET then DECR", "design"),
    Contestant("redis_decr_incr", "Redis: DECR then INCR", "design"),
    Contestant("redis_watch", "Redis: WATCH/MULTI", "design"),
    Contestant("lock_database", "Redis lock around a database", "design"),
    Contestant("postgres_conditional", "Postgres: conditional UPDATE + INSERT", "design"),
    Contestant("postgres_for_update", "Postgres: SELECT FOR UPDATE", "design"),
    Contestant("postgres_version", "Postgres: version compare-and-set", "design"),
    Contestant("postgres_skip_locked", "Postgres: row per unit, SKIP LOCKED", "design"),
)
TITLES = {contestant.name: contestant.title for contestant in CONTESTANTS}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def database_dsn(stack: Stack) -> str:
    """The reference designs' own database on the stack's Postgres."""
    return stack.running.postgres.rpartition("/")[0] + "/" + DATABASE


@dataclass(slots=True)
class DesignProcess:
    """One worker of a reference design; may be killed and started again on its port."""

    name: str
    stack: Stack
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The pid of now."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it listens. Raises StackError."""
        running = self.stack.running
        environment = {
            "BENCH_PORT": str(self.port),
            # Database 1: the same server as dropgate's, so the same durability.
            "BENCH_REDIS": running.redis.rpartition("/")[0] + "/1",
            "BENCH_POSTGRES": database_dsn(self.stack),
            "BENCH_SECRET": running.auth_secret,
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest.bench.designs", self.name),
            env={**os.environ, **environment},
        )
        try:
            await poll_until(
                self._listens, pause_seconds=POLL_SECONDS, timeout_seconds=START_TIMEOUT_SECONDS
            )
        except TimeoutError as error:
            raise StackError(f"{self.name} does not listen") from error

    async def _listens(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise StackError(f"{self.name} ended with status {self._process.returncode}")
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def call(self, method: str, path: str) -> Response:
        """One of the bench's own calls."""
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
async def run_designs(stack: Stack, names: list[str]) -> AsyncIterator[dict[str, DesignProcess]]:
    """All of them, by name; idle ones cost nothing."""
    processes = {name: DesignProcess(name, stack) for name in names}
    try:
        for process in processes.values():
            await process.start()
        yield processes
    finally:
        for process in processes.values():
            await process.stop()
