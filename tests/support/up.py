"""Runs `dropgate up` as a user would: a process of its own, a data folder, a ready file."""

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest_asyncio

from config.ready import ReadyFile
from tests.support.waiting import wait_until

UP_TIMEOUT_SECONDS = 60.0
DOWN_TIMEOUT_SECONDS = 30.0


class Up:
    """One `dropgate up` on a folder; may be started again after a stop."""

    def __init__(self, folder: Path, arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ready_path = folder / "ready.json"
        self.arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The `dropgate up` process."""
        assert self._process is not None
        return self._process

    @property
    def ready(self) -> ReadyFile:
        """What the ready file says now."""
        return ReadyFile.read(self.ready_path)

    @property
    def output(self) -> str:
        """Everything `up` has printed."""
        return (self.folder / "up.log").read_text()

    def launch(self) -> None:
        """Start without waiting."""
        command = [
            *(sys.executable, "-m", "config.cli", "up", "--port", "0"),
            *("--data-dir", str(self.data), "--ready-file", str(self.ready_path)),
            *self.arguments,
        ]
        with (self.folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    async def start(self, timeout_seconds: float = UP_TIMEOUT_SECONDS) -> ReadyFile:
        """Start and wait for the ready file; fails with the output when `up` ends instead."""
        self.ready_path.unlink(missing_ok=True)
        self.launch()

        def written() -> bool:
            assert self.process.poll() is None, f"dropgate up ended:\n{self.output}"
            return self.ready_path.exists()

        await wait_until(written, timeout_seconds, "the ready file is written")
        return self.ready

    async def ready_where(
        self, name: str, *, not_pid: int, timeout_seconds: float = UP_TIMEOUT_SECONDS
    ) -> ReadyFile:
        """Wait until the ready file no longer names `not_pid` under `name`."""

        def renewed() -> bool:
            try:
                pids = self.ready.pids[name]
            except msgspec.DecodeError as error:  # never: it is replaced in one step
                raise AssertionError(f"half-written ready file: {error}") from error
            return bool(pids) and not_pid not in pids

        await wait_until(renewed, timeout_seconds, f"{name} is restarted")
        return self.ready

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, DOWN_TIMEOUT_SECONDS)


@pytest_asyncio.fixture(scope="module")
async def up() -> AsyncIterator[Up]:
    """A running `dropgate up` with one gateway worker, shared by the tests of a module."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-up-"))
    running = Up(folder)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def up_folder() -> AsyncIterator[Path]:
    """A folder for a `dropgate up` of this test's own; reachable for PostgreSQL's user."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-up-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
