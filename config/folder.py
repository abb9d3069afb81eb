"""The data folder of `dropgate up`: one `up` at a time, and the secret that lives with the data."""

import fcntl
import os
import secrets
import time
from pathlib import Path

from config.stack.process import StackError

# How long the servers of a killed `up` may take to be gone before its folder counts as in use.
LEFTOVER_SECONDS = 10.0
RETRY_SECONDS = 0.05
SECRET_BYTES = 32


class DataFolder:
    """A locked data folder. The lock ends with the last process that has `descriptor` open.

    The servers inherit the descriptor, so a folder whose `up` was killed stays locked until its
    servers are gone too: two Redis on one append-only file would destroy it.
    """

    def __init__(self, path: Path) -> None:
        """Make and lock the folder. Raises `StackError` when another `up` uses it."""
        self.path = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"cannot use {self.path}: {error.strerror}. Choose another with --data-dir"
            ) from error
        self._lock()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    @property
    def logs(self) -> Path:
        """Where the processes' logs go."""
        return self.path / "logs"

    def secret(self) -> str:
        """The token secret of this folder, made on first use."""
        path = self.path / "auth.secret"
        if not path.exists():
            temporary = path.with_suffix(".new")
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(SECRET_BYTES))
            temporary.replace(path)
        return path.read_text().strip()

    def release(self) -> None:
        """Give the folder free (once everything that inherited the lock has ended)."""
        os.close(self.descriptor)

    def _lock(self) -> None:
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(self.descriptor, 32, 0).decode().strip()
                if _runs(owner) or time.monotonic() >= deadline:
                    os.close(self.descriptor)
                    raise StackError(
                        f"{self.path} is in use by another dropgate up (pid {owner or 'unknown'}). "
                        "Stop that one, or choose another folder with --data-dir"
                    ) from error
                time.sleep(RETRY_SECONDS)
            else:
                return


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
