"""A Redis primary with replicas, watched by a real Sentinel, on loopback; and who is cut off.

The primary is reached by replicas and by Sentinel only through a proxy, as is everybody who asks
Sentinel where it is. Cutting that way off isolates it: those who know its own port go on as its
clients.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis.asyncio

from config.stack.process import Child
from config.stack.redis import CONF, RedisServer
from config.stack.server import HOST
from tests.support.network.proxy import FaultyProxy
from tests.support.waiting import WAIT_SECONDS, wait_until

MASTER = "drop"
DOWN_AFTER_MILLISECONDS = 700
NEVER_MILLISECONDS = 24 * 3600 * 1000
STRICT = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}


class OwnedRedis(RedisServer):
    """A Redis with a configuration file of its own, which Sentinel makes it rewrite."""

    def make_child(self) -> Child:
        """The server as it was left."""
        config = self.folder / "redis.conf"
        if not config.exists():
            options = {"port": str(self.port), "dir": str(self.folder), **self.overrides}
            own = "\n".join(f"{name} {value}" for name, value in options.items())
            config.write_text(f"{CONF.read_text()}\n{own}\n")
        return Child(
            [str(self.binary), str(config)], log=self.folder / "redis.log", folder=self.folder
        )


class SentinelServer(RedisServer):
    """A redis-server that runs as a Sentinel and follows one primary."""

    name = "sentinel"

    def __init__(
        self,
        folder: Path,
        primary_port: int,
        *,
        config_epoch: int = 0,
        port: int = 0,
        down_after_milliseconds: int = NEVER_MILLISECONDS,
    ) -> None:
        """`config_epoch`: the age of the configuration it begins with. By default it takes no
        primary for down: a slow moment is not a fault that a test has caused.
        """
        super().__init__(folder, port)
        self._down_after_milliseconds = down_after_milliseconds
        self._primary_port = primary_port
        self._config_epoch = config_epoch

    def make_child(self) -> Child:
        """The server with a configuration file of its own: what it has learnt is written there."""
        config = self.folder / "sentinel.conf"
        if not config.exists():
            config.write_text(
                f"port {self.port}\nbind {HOST}\ndir {self.folder}\n"
                f"sentinel monitor {MASTER} {HOST} {self._primary_port} 1\n"
                f"sentinel down-after-milliseconds {MASTER} {self._down_after_milliseconds}\n"
                f"sentinel failover-timeout {MASTER} 3000\n"
                f"sentinel config-epoch {MASTER} {self._config_epoch}\n"
            )
        return Child(
            [str(self.binary), str(config), "--sentinel"],
            log=self.folder / "sentinel.log",
            folder=self.folder,
        )


@dataclass
class Replicated:
    """See the module. `way` is the proxy in front of the first primary."""

    primary: OwnedRedis
    replicas: tuple[OwnedRedis, ...]
    sentinel: SentinelServer
    way: FaultyProxy
    named_port: int = 0

    @property
    def sentinels(self) -> str:
        """What `redis.sentinels` takes."""
        return f"{HOST}:{self.sentinel.port}"

    @property
    def url(self) -> str:
        """The server that Sentinel names now, without the proxy."""
        return f"redis://{HOST}:{self.named_port}/0"

    async def find(self) -> int:
        """Ask Sentinel for the primary's port and remember it."""
        async with client_of(self.sentinel.url) as client:
            facts = cast("dict[str, int]", await client.sentinel_master(MASTER))
        named = facts["port"]
        self.named_port = self.primary.port if named == self.way.port else named
        return self.named_port

    async def promoted(self) -> int:
        """From now on Sentinel may replace the first primary; wait until it names another."""
        told = ("SENTINEL", "SET", MASTER, "down-after-milliseconds", DOWN_AFTER_MILLISECONDS)
        async with client_of(self.sentinel.url) as client:
            await client.execute_command(*told)  # type: ignore[no-untyped-call]

        async def is_replaced() -> bool:
            return await self.find() != self.primary.port

        await wait_until(is_replaced, "a replica is promoted")
        return self.named_port


@asynccontextmanager
async def client_of(
    url: str, *, timeout_seconds: float = WAIT_SECONDS
) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client."""
    async with redis.asyncio.Redis.from_url(
        url, protocol=2, socket_timeout=timeout_seconds
    ) as client:
        yield client


@asynccontextmanager
async def replicated(
    folder: Path, overrides: Mapping[str, str] = STRICT, *, replicas: int = 2
) -> AsyncIterator[Replicated]:
    """A primary, replicas in step and a Sentinel, until the end of the block."""
    primary = OwnedRedis(folder / "primary")
    async with FaultyProxy(primary.port) as way:
        # Known to everybody by the proxy's port, also when it comes back as a replica.
        overrides = {**overrides, "repl-diskless-sync-delay": "0"}
        primary.overrides = {**overrides, "replica-announce-port": str(way.port)}
        followers = tuple(
            OwnedRedis(
                folder / f"replica-{number}",
                overrides={**overrides, "replicaof": f"{HOST} {way.port}"},
            )
            for number in range(replicas)
        )
        sentinel = SentinelServer(folder / "sentinel", way.port)
        made = Replicated(primary, followers, sentinel, way)
        try:
            for server in [primary, *followers]:
                await server.start()
            await wait_until(lambda: in_step(primary, replicas), "in step")
            await sentinel.start()
            await wait_until(lambda: knows_replicas(sentinel, replicas), "Sentinel knows them all")
            await made.find()
            yield made
        finally:
            for each in (sentinel, *followers, primary):
                await each.stop()


async def in_step(primary: RedisServer, replicas: int) -> bool:
    """Whether exactly so many replicas follow this Redis."""
    async with client_of(primary.url) as client:
        facts = await client.info("replication")
    states = [facts.get(f"slave{number}", {}).get("state") for number in range(replicas)]
    return states == ["online"] * replicas


async def knows_replicas(sentinel: SentinelServer, replicas: int) -> bool:
    """Whether Sentinel has heard of so many replicas that have their primary."""
    async with client_of(sentinel.url) as client:
        rows = await client.sentinel_slaves(MASTER)
    return [row.get("master-link-status") for row in rows] == ["ok"] * replicas
