"""Runs `dropgate up` as a user would: a process of its own, a data folder, a ready file."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest_asyncio

from config.ready import ReadyFile
from config.stack.process import Child, dropgate_command
from tests.support.waiting import WAIT_SECONDS, wait_until

# For tests that are not about outages: a slow machine must not look like an outage.
PATIENT = {
    f"DROPGATE_{name}_SECONDS": "60"
    for name in (
        *("REDIS__SOCKET_TIMEOUT", "REDIS__CONNECT_TIMEOUT", "POSTGRES__ACQUIRE_TIMEOUT"),
        *("POSTGRES__COMMAND_TIMEOUT", "GATEWAY__REQUEST_DEADLINE"),
    )
}
UP_COMMAND = tuple(dropgate_command("up"))


class Up:
    """One `dropgate up` on a folder; may be started again after a stop."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = UP_COMMAND,
    ) -> None:
        """`command` runs something else that takes the options of `dropgate up`."""
        self.folder = folder
        self.data = folder / "data"
        self.ready_path = folder / "ready.json"
        # A child that dies with the test run, however the run ends.
        self._child = Child(
            [
                *(*command, "--port", "0", "--data-dir", str(self.data)),
                *("--ready-file", str(self.ready_path), *arguments),
            ],
            log=folder / "up.log",
            environment=None if environment is None else {**os.environ, **environment},
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The `dropgate up` process."""
        return self._child.process

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
        self._child.start()

    async def start(self) -> ReadyFile:
        """Start and wait for the ready file; fails with the output when `up` ends instead."""
        self.ready_path.unlink(missing_ok=True)
        self.launch()

        def written() -> bool:
            assert self.process.poll() is None, f"dropgate up ended:\n{self.output}"
            return self.ready_path.exists()

        await wait_until(written, "the ready file is written")
        return self.ready

    async def ready_where(self, name: str, *, not_pid: int) -> ReadyFile:
        """Wait until the ready file no longer names `not_pid` under `name`."""

        def renewed() -> bool:
            try:
                pids = self.ready.pids[name]
            except msgspec.DecodeError as error:  # never: it is replaced in one step
                raise AssertionError(f"half-written ready file: {error}") from error
            return bool(pids) and not_pid not in pids

        await wait_until(renewed, f"{name} is restarted")
        return self.ready

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit status."""
        self._child.send(number)
        return await asyncio.to_thread(self.process.wait, WAIT_SECONDS)

    async def clean(self) -> None:
        """Leave nothing behind, whatever the test did."""
        await self._child.stop(WAIT_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)


NewUp = Callable[..., Up]


@pytest_asyncio.fixture(scope="module")
async def up() -> AsyncIterator[Up]:
    """A running `dropgate up` with one gateway worker, shared by the tests of a module."""
    running = Up(Path(tempfile.mkdtemp(prefix="dropgate-up-")), environment=PATIENT)
    try:
        await running.start()
        yield running
    finally:
        await running.clean()


@pytest_asyncio.fixture
async def new_up() -> AsyncIterator[NewUp]:
    """Makes a not yet started `dropgate up` of this test's own: `new_up("--workers", "2")`."""
    made: list[Up] = []

    def make(*arguments: str) -> Up:
        made.append(Up(Path(tempfile.mkdtemp(prefix="dropgate-up-")), arguments))
        return made[-1]

    yield make
    for each in made:
        await each.clean()


@pytest_asyncio.fixture
async def up_folder() -> AsyncIterator[Path]:
    """A folder for servers of this test's own; reachable for PostgreSQL's user."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-up-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
