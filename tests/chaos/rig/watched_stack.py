"""`dropgate up` with what it has not itself: replicas and a Sentinel of its Redis, and a standby
of its Postgres.

Run as a module, it takes the options of `dropgate up` that tests use, and where its servers shall
be. Replicas, Sentinel and all processes reach a Redis at the port of the proxy in front of it. All
processes reach Postgres at the port of a proxy that leads to the primary, and the standby at the
port of another such proxy.
"""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from config.logs import configure_logs
from config.ready import ReadyFile
from config.runner import stop_on_signals
from config.settings import RedisSettings, Settings
from config.sources import load_settings
from config.stack.folder import DataFolder
from config.stack.postgres import PostgresServer
from config.stack.server import HOST, Server
from config.up import STOP_SERVER_SECONDS, LocalStack, UpOptions
from tests.support.sentinel import (
    DOWN_AFTER_MILLISECONDS,
    MASTER,
    STRICT,
    OwnedRedis,
    SentinelServer,
    in_step,
    knows_replicas,
)
from tests.support.standby import StandbyServer, at_port, demand_standby
from tests.support.waiting import wait_until

WORKERS = 2
# The folders of the two Postgres below the data folder, the first primary's first.
LEDGERS = ("postgres", "postgres-standby")


class LedgerPorts(NamedTuple):
    """Ports of both Postgres, and of the proxies that lead clients and the standby to the
    primary.
    """

    primary: int
    standby: int
    way: int
    replication: int


class WatchedStack(LocalStack):
    """See the module. The ready file names all Redis under `redis` and both Postgres under
    `postgres`, in one order for good.
    """

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        options: UpOptions,
        ways: Mapping[int, int],
        sentinel_port: int,
        ledger: LedgerPorts,
    ) -> None:
        """`ways`: the port of each Redis, and of the proxy in front of it."""
        super().__init__(settings, folder, options)
        servers = [
            _server(folder.path / f"redis-{number}", port, way, next(iter(ways.values())))
            for number, (port, way) in enumerate(ways.items())
        ]
        self.redis, *self._replicas = servers
        self._sentinel = SentinelServer(
            folder.path / "sentinel",
            next(iter(ways.values())),
            port=sentinel_port,
            down_after_milliseconds=DOWN_AFTER_MILLISECONDS,
        )
        self.postgres = PostgresServer(folder.path / LEDGERS[0], ledger.primary)
        self._standby = StandbyServer(
            folder.path / LEDGERS[1], self.postgres, ledger.replication, ledger.standby
        )
        self._ledger_way = ledger.way

    def ready_file(self) -> ReadyFile:
        """The stack's ready file with Sentinel's pid; `redis` is always the first primary."""
        ready = super().ready_file()
        pids = {**ready.pids, "sentinel": [self._sentinel.pid]}
        return msgspec.structs.replace(ready, pids=pids, postgres=self._ledger)

    @property
    def _ledger(self) -> str:
        """The address of Postgres for everybody, whichever server is the primary."""
        return at_port(self.postgres.dsn, self._ledger_way)

    def _settings_of_processes(self) -> Settings:
        made = super()._settings_of_processes()
        redis = RedisSettings.model_validate(
            {
                "url": self.redis.url,
                "sentinels": f"{HOST}:{self._sentinel.port}",
                "sentinel_master": MASTER,
                "durability": "replica",
            }
        )
        postgres = made.postgres.model_copy(update={"dsn": self._ledger})
        return made.model_copy(update={"redis": redis, "postgres": postgres})

    async def _prepare_ledger_and_log(self) -> None:
        await self._start_servers(*self._replicas)
        count = len(self._replicas)
        await wait_until(lambda: in_step(self.redis, count), "in step")
        # Only now: a Sentinel that finds no replicas asks the primary again only much later.
        await self._start_servers(self._sentinel)
        await wait_until(lambda: knows_replicas(self._sentinel, count), "Sentinel knows them all")
        await self._start_servers(self._standby)
        await demand_standby(self.postgres)
        await super()._prepare_ledger_and_log()

    async def _start_servers(self, *servers: Server) -> None:
        for server in servers:
            server.inherited = (self.folder.descriptor,)
            server.stop_timeout_seconds = STOP_SERVER_SECONDS
        await self._supervisor.start(servers)


def _server(folder: Path, port: int, way: int, primary_way: int) -> OwnedRedis:
    overrides = {
        **STRICT,
        "repl-diskless-sync-delay": "0",
        "replica-announce-port": str(way),
        **({} if way == primary_way else {"replicaof": f"{HOST} {primary_way}"}),
    }
    return OwnedRedis(folder, port, overrides=overrides)


async def _run(stack: WatchedStack) -> None:
    stop = stop_on_signals()
    try:
        await stack.start()
        await stop.wait()
    finally:
        await stack.stop()
        stack.folder.release()


def main() -> None:
    """Run until a signal stops it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--event-log")
    parser.add_argument("--redis", action="append", help="PORT:PORT OF ITS PROXY, primary first")
    parser.add_argument("--sentinel-port", type=int)
    parser.add_argument("--ledger", help="THE FOUR PORTS OF LedgerPorts, by colons")
    given = parser.parse_args()
    settings = load_settings()
    configure_logs(settings.log, "up")
    options = UpOptions(given.event_log, WORKERS, given.port, given.ready_file)
    pairs = (pair.split(":") for pair in given.redis)
    ways = {int(port): int(way) for port, way in pairs}
    folder = asyncio.run(DataFolder.take(given.data_dir))
    ledger = LedgerPorts(*map(int, given.ledger.split(":")))
    stack = WatchedStack(settings, folder, options, ways, given.sentinel_port, ledger)
    asyncio.run(_run(stack))


if __name__ == "__main__":
    main()
