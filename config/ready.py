"""The ready file of `dropgate up`: addresses, pids and the token secret of what it runs."""

import os
import tempfile
from pathlib import Path

import msgspec

# The order in which `pids` names what runs.
NAMES = ("redis", "postgres", "kafka", "gateway", "relay", "order_writer", "reconciler")


class ReadyFile(msgspec.Struct, frozen=True):
    """What `dropgate up --ready-file` writes once everything serves.

    `pids` holds the pids of servers and processes by name; a server's main process comes first.
    Addresses never change while `up` runs; pids change with every restart.
    """

    gateway: str
    redis: str
    postgres: str
    kafka: str | None
    auth_secret: str
    pids: dict[str, list[int]]

    def write(self, path: Path) -> None:
        """Replace `path` in one step, readable by its owner only: it holds the secret."""
        path = path.absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self)))
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: Path) -> "ReadyFile":
        """Read a ready file. Raises OSError (no file) or msgspec.DecodeError (no ready file)."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
