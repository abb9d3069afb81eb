"""All processes of dropgate on servers of a test's own: a Redis that Sentinel watches."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from config.ready import ReadyFile
from config.settings import EventLogSettings
from config.stack.server import HOST, free_port
from tests.chaos.faults.extra import extra, listens
from tests.support.sentinel import MASTER, Replicated
from tests.support.servers import SECRET
from tests.support.waiting import wait_until


@dataclass
class Fleet:
    """A `Stage` whose Redis is the primary that Sentinel named last."""

    folder: Path
    servers: Replicated
    postgres: str
    port: int

    @property
    def data(self) -> Path:
        """The data folder; `logs/` is in it."""
        return self.folder

    @property
    def ready_path(self) -> Path:
        """A ready file written once: neither the gateway's address nor the secret changes."""
        return self.folder / "ready.json"

    @property
    def ready(self) -> ReadyFile:
        """The servers' present addresses. The test owns the processes, so no pids are listed."""
        gateway = f"http://{HOST}:{self.port}"
        return ReadyFile(gateway, self.servers.url, self.postgres, None, SECRET, {})


@asynccontextmanager
async def fleet(
    folder: Path,
    servers: Replicated,
    postgres: str,
    event_log: EventLogSettings | None = None,
    **own: str,
) -> AsyncIterator[Fleet]:
    """Order writer, reconciler, gateway and, with Kafka, a relay; Sentinel tells them the way."""
    made = Fleet(folder, servers, postgres, free_port())
    (folder / "logs").mkdir(parents=True)
    made.ready.write(made.ready_path)
    own = {"REDIS__SENTINELS": servers.sentinels, "REDIS__SENTINEL_MASTER": MASTER, **own}
    if event_log is not None:
        own |= {
            f"EVENT_LOG__{name.upper()}": str(value)
            for name, value in event_log.model_dump(exclude_unset=True).items()
        }
    gateway = {"GATEWAY__PORT": str(made.port), "GATEWAY__RUN_DIR": str(folder / "run")}
    async with AsyncExitStack() as stack:
        behind = ["order-writer", "reconciler"] + ["relay"] * (event_log is not None)
        for command in behind:
            await stack.enter_async_context(extra(made, command, **own))
        await stack.enter_async_context(extra(made, "gateway", **own, **gateway))
        await wait_until(lambda: listens(made.port), "the gateway listens")
        yield made


@asynccontextmanager
async def left_behind(made: Fleet, **own: str) -> AsyncIterator[str]:
    """The URL of a gateway that knows only the first primary, and no Sentinel."""
    port = free_port()
    own = {
        "REDIS__URL": made.servers.primary.url,
        "GATEWAY__PORT": str(port),
        "GATEWAY__RUN_DIR": str(made.folder / "run-left-behind"),
        **own,
    }
    async with extra(made, "gateway", log="left-behind", **own):
        await wait_until(lambda: listens(port), "the other gateway listens")
        yield f"http://{HOST}:{port}"
