"""One more process on the servers of a running `dropgate up`, with settings of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from config.stack.server import HOST, free_port
from tests.chaos.rig.stage import Stage
from tests.support.network.proxy import FaultyProxy
from tests.support.up import Up
from tests.support.waiting import WAIT_SECONDS, wait_until


@asynccontextmanager
async def extra(
    up: Stage, command: str, *, log: str = "", **own: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """`dropgate COMMAND` during the block; `own` adds settings such as `REDIS__URL`.

    It logs to `logs/extra-COMMAND.log`, or under the name `log`.
    """
    ready = up.ready
    settings = {
        "REDIS__URL": ready.redis,
        "POSTGRES__DSN": ready.postgres,
        "AUTH__SECRET": ready.auth_secret,
        "LOG__FORMAT": "json",
        **own,
    }
    if ready.kafka is not None:
        settings |= {"EVENT_LOG__KIND": "kafka", "EVENT_LOG__BOOTSTRAP": ready.kafka}
    inherited = {name: value for name, value in os.environ.items() if "DROPGATE_" not in name}
    environment = {**inherited, **{f"DROPGATE_{name}": text for name, text in settings.items()}}
    path = up.data / "logs" / f"{log or f'extra-{command}'}.log"
    process = _spawn(command, environment, path)
    try:
        await wait_until(lambda: '"started"' in path.read_text(), f"{command} started")
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, WAIT_SECONDS)


def _spawn(command: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "config.cli", command],
            env=environment,
            stdout=file,
            stderr=file,
        )


@asynccontextmanager
async def proxied_gateway(up: Up) -> AsyncIterator[tuple[str, FaultyProxy]]:
    """A gateway that reaches Redis only through a faulty network, and that network."""
    port = free_port()
    async with FaultyProxy(int(urlsplit(up.ready.redis).port or 0)) as proxy:
        own = {
            "REDIS__URL": f"redis://{HOST}:{proxy.port}/0",
            "GATEWAY__PORT": str(port),
            "GATEWAY__RUN_DIR": str(up.folder / "extra-run"),
        }
        async with extra(up, "gateway", **own):
            await wait_until(lambda: listens(port), "it listens")
            yield f"http://{HOST}:{port}", proxy


@asynccontextmanager
async def proxied_reconciler(up: Up) -> AsyncIterator[FaultyProxy]:
    """A reconciler that reaches Redis only through a faulty network, and that network."""
    proxy = FaultyProxy(int(urlsplit(up.ready.redis).port or 0))
    async with proxy, extra(up, "reconciler", REDIS__URL=f"redis://{HOST}:{proxy.port}/0"):
        yield proxy


async def listens(port: int) -> bool:
    """Whether somebody takes connections on this port."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
