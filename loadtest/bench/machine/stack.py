"""The system under test: `dropgate up` on a fresh data folder, started and stopped."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from redis.asyncio import Redis

from config.waiting import poll_until
from loadtest.client.target import Target

START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.05
# No setting here touches the request path. A comparison of the whole ledger would disturb whichever
# contestant has its turn then, as would a rewrite of the append-only file.
ENVIRONMENT = {
    "DROPGATE_RECONCILER__COMPARE_INTERVAL_SECONDS": "3600",
    "DROPGATE_LOG__LEVEL": "warning",
}


class StackError(Exception):
    """The stack did not come up, or is not as it should be."""


class Running(msgspec.Struct, frozen=True):
    """The content of the ready file."""

    gateway: str
    redis: str
    postgres: str
    auth_secret: str
    pids: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack; `folder` is for the bench's own files too."""

    folder: Path
    workers: int

    @property
    def running(self) -> Running:
        """Addresses and current pids, from the ready file."""
        return msgspec.json.decode((self.folder / "ready.json").read_bytes(), type=Running)

    @property
    def target(self) -> Target:
        """Addresses for the rest of the load tools."""
        return Target.from_ready_file(self.folder / "ready.json")

    def pids(self, *names: str) -> list[int]:
        """The current pids of the processes with these names."""
        known = self.running.pids
        return [pid for name in names for pid in known.get(name, [])]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to all processes of this name."""
        for pid in self.pids(name):
            os.kill(pid, number)


@asynccontextmanager
async def run_stack(workers: int) -> AsyncIterator[Stack]:
    """`dropgate up` until the block ends; raises StackError with the log where it fails."""
    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="dropgate-bench-")))
        folder.chmod(0o711)  # Postgres runs as another user below it
        ready, log = folder / "ready.json", folder / "up.log"
        command = [
            *(str(Path(sys.executable).with_name("dropgate")), "up"),
            *("--workers", str(workers), "--port", "0"),
            *("--data-dir", str(folder / "data"), "--ready-file", str(ready)),
        ]
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, env={**os.environ, **ENVIRONMENT}
            )
        parts.push_async_callback(_stop, process)

        async def is_ready() -> bool:
            if process.returncode is not None:
                raise StackError(f"dropgate up ended:\n{log.read_text()[-2000:]}")
            return ready.exists()

        if not await poll_until(is_ready, START_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError(f"dropgate up is not ready:\n{log.read_text()[-2000:]}")
        stack = Stack(folder, workers)
        await _keep_file_rewrites_out(stack.running.redis)
        yield stack


async def _keep_file_rewrites_out(url: str) -> None:
    redis = Redis.from_url(url, protocol=2)
    try:
        await redis.config_set("auto-aof-rewrite-percentage", 0)
    finally:
        await redis.aclose()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
