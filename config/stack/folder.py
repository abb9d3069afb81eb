"""The data folder of `dropgate up`: one `up` at a time, and the secret that lives with the data."""

import fcntl
import os
import secrets
from pathlib import Path

from config.stack.process import StackError
from config.waiting import poll_until

# How long the servers of a killed `up` may take to be gone before its folder counts as in use.
LEFTOVER_SECONDS = 10.0
RETRY_SECONDS = 0.05
SECRET_BYTES = 32


class DataFolder:
    """A locked data folder. The lock ends with the last process that has `descriptor` open.

    The servers inherit the descriptor, so a folder whose `up` was killed stays locked until its
    servers are gone too: two Redis on one append-only file would destroy it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """`descriptor`: the folder's lock file, locked; see `take`."""
        self.path = path
        self.descriptor = descriptor

    @classmethod
    async def take(cls, path: Path) -> "DataFolder":
        """Make and lock the folder. Raises `StackError` when another `up` uses it."""
        path = path.absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"cannot use {path}: {error.strerror}. Choose another with --data-dir"
            ) from error
        if not await _lock(descriptor):
            owner = _owner(descriptor)
            os.close(descriptor)
            raise StackError(
                f"{path} is in use by another dropgate up (pid {owner or 'unknown'}). "
                "Stop that one, or choose another folder with --data-dir"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(path, descriptor)

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
        """Release the lock (once everything that inherited it has ended)."""
        os.close(self.descriptor)


async def _lock(descriptor: int) -> bool:
    """Whether the lock was taken; waits for leftovers of an `up` that has ended, for no other."""
    is_locked = False

    async def decided() -> bool:
        nonlocal is_locked
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _runs(_owner(descriptor))
        is_locked = True
        return True

    await poll_until(decided, LEFTOVER_SECONDS, first_seconds=RETRY_SECONDS)
    return is_locked


def _owner(descriptor: int) -> str:
    """The pid of the `up` that took the folder last."""
    return os.pread(descriptor, 32, 0).decode().strip()


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
