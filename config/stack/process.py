"""One child process: in its own process group, ended with its parent, watched by polling."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from config.waiting import poll_until

LAUNCH = Path(__file__).with_name("launch.py")
# The pause between two looks at a condition of a child.
POLL_SECONDS = 0.02
# The length of the log's end that is shown when a server does not start.
LOG_TAIL_CHARACTERS = 2000
# A longer log is renamed to `.old`, replacing the last such file, when its program starts.
LOG_MAX_BYTES = 16 * 2**20


class StackError(Exception):
    """A server or process of the local stack cannot be run; the message names the next step."""


def dropgate_command(*arguments: str) -> list[str]:
    """How to run `dropgate ARGUMENTS` with this very interpreter, whatever the current folder."""
    return [sys.executable, "-P", "-m", "config.cli", *arguments]


class Child:
    """A program to be run: `start` starts it, also again after its end.

    Must be started from a thread that lives as long as the child shall (in practice the main
    thread): the kernel ties the death signal to the parent's thread.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        user: tuple[int, int] | None = None,
        folder: Path | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        """Describe the program.

        `environment` replaces the inherited one; `log` receives both output streams (inherited
        when None); `user` is the (uid, gid) to run as; `folder` is the working directory;
        `inherited` are file descriptors the program keeps open.
        """
        self.argv = list(argv)
        self.log = log
        self._environment = environment
        self._user = user
        self._folder = folder
        self.inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last. Raises `StackError` before the first start."""
        if self._process is None:
            raise StackError(f"{self.argv[0]} was never started")
        return self._process

    @property
    def pid(self) -> int:
        """The pid of the program itself."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the program runs; a program stopped by SIGSTOP still does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program; returns at once."""
        user = "-" if self._user is None else f"{self._user[0]}:{self._user[1]}"
        output = None
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            if self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES:
                self.log.replace(self.log.with_suffix(".old"))
            output = self.log.open("ab")
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(LAUNCH)),
                    *(str(os.getpid()), user),
                    *self.argv,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self._folder,
                process_group=0,
                pass_fds=self.inherited,
            )
        finally:
            if output is not None:
                output.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program; a program that has ended is left alone."""
        if self.alive:
            self.process.send_signal(number)

    async def wait_exit(self, timeout_seconds: float) -> bool:
        """Wait for the end; False when the program still runs after the time."""

        async def ended() -> bool:
            return not self.alive

        return await poll_until(ended, timeout_seconds, first_seconds=POLL_SECONDS)

    async def stop(self, timeout_seconds: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the program to end by `number`; after the time kill it and its process group.

        Idempotent. A stopped (SIGSTOPped) program is continued so that it can end cleanly.
        """
        if self._process is None:
            return
        self.send(number)
        self.send(signal.SIGCONT)
        if not await self.wait_exit(timeout_seconds):
            # The number still belongs to this group: its leader is not yet reaped.
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.wait_exit(timeout_seconds)

    def log_tail(self) -> str:
        """The end of the log, for error messages."""
        if self.log is None or not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()
