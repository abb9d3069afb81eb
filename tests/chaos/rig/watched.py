"""A running stack that fails over again and again: Redis has two replicas and a Sentinel, Postgres
has a synchronous standby.

Each of the three Redis is reached through a proxy of its own by replicas, by Sentinel and by
whoever asks Sentinel. Refusing connections there isolates one; who knows its own port goes on as
its client. Postgres is reached through a proxy that leads to its primary.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.ready import ReadyFile
from config.stack.postgres import PostgresServer
from config.stack.server import HOST, free_port
from tests.chaos.rig.watched_stack import LEDGERS, LedgerPorts
from tests.support.network.proxy import FaultyProxy
from tests.support.sentinel import MASTER, client_of
from tests.support.standby import PostgresPair
from tests.support.up import Up
from tests.support.waiting import wait_until

SERVERS = 3
FOLLOW_SECONDS = 0.1
FROZEN_SECONDS = 2.0
COMMAND = (sys.executable, "-m", "tests.chaos.rig.watched_stack")


class WatchedUp(Up):
    """See the module. Redis are known by their numbers; `primary` is whom Sentinel named last."""

    def __init__(
        self,
        folder: Path,
        ways: dict[int, FaultyProxy],
        ledger: LedgerPorts,
        ledger_ways: tuple[FaultyProxy, FaultyProxy],
        event_log: str,
    ) -> None:
        """`ways`: the proxy in front of each Redis, by that Redis' port; `ledger_ways`: the
        proxies at `ledger.way` and `ledger.replication`.
        """
        self.ports = tuple(ways)
        self.ways = tuple(ways.values())
        self.primary = 0
        self.failovers = 0
        self._sentinel_port = free_port()
        redis = (f"--redis={port}:{way.port}" for port, way in ways.items())
        super().__init__(
            folder,
            (
                *(f"--event-log={event_log}", f"--sentinel-port={self._sentinel_port}", *redis),
                f"--ledger={':'.join(map(str, ledger))}",
            ),
            command=COMMAND,
        )
        # The servers themselves run in the stack; only their addresses and folders are used here.
        first = PostgresServer(self.data / LEDGERS[0], ledger.primary)
        second = PostgresServer(self.data / LEDGERS[1], ledger.standby)
        self._ledgers = (first, second)
        self.ledger = PostgresPair(first, second, *ledger_ways)

    @property
    def ready(self) -> ReadyFile:
        """What the ready file says now, and where the primary was seen last."""
        return msgspec.structs.replace(super().ready, redis=self.url_of(self.primary))

    @property
    def settings(self) -> dict[str, str]:
        """What a process of a test's own needs to follow Sentinel."""
        return {
            "REDIS__DURABILITY": "replica",
            "REDIS__SENTINELS": f"{HOST}:{self._sentinel_port}",
            "REDIS__SENTINEL_MASTER": MASTER,
        }

    def url_of(self, number: int) -> str:
        """A Redis by its own port: whoever uses it does not notice that it is isolated."""
        return f"redis://{HOST}:{self.ports[number]}/0"

    def serving(self, name: str) -> int:
        """Index, among the processes of this name, of the process that does the work."""
        return {"redis": self.primary, "postgres": self._ledgers.index(self.ledger.leader)}.get(
            name, 0
        )

    def redis_folder(self, number: int) -> Path:
        """The data folder of this Redis."""
        return self.data / f"redis-{number}"

    async def replaced(self, number: int) -> None:
        """Wait until Sentinel names another primary than this one."""

        async def is_replaced() -> bool:
            await self._look()
            return self.primary != number

        await wait_until(is_replaced, "a replica is promoted")

    async def complete(self) -> None:
        """Wait until every other Redis follows the primary; a second primary is made a replica.

        Sentinel would do that, too, after ten to twenty seconds.
        """
        await wait_until(self._is_complete, "all replicas follow the primary")

    async def follow(self) -> None:
        """Keep `primary` up to date until cancelled: any fault may cause a failover."""
        while True:
            await self._look()
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _look(self) -> None:
        async with self._sentinel() as sentinel:
            try:
                facts = cast("dict[str, int]", await sentinel.sentinel_master(MASTER))
            except (RedisError, OSError, TimeoutError):
                return  # Sentinel is killed or frozen: its last answer holds
        found = [way.port for way in self.ways].index(facts["port"])
        self.failovers += found != self.primary
        self.primary = found

    async def _is_complete(self) -> bool:
        await self._look()
        way = self.ways[self.primary].port
        links = [await self._follows(number, way) for number in range(SERVERS)]
        return sum(links) == SERVERS - 1 and not links[self.primary]

    async def _follows(self, number: int, way: int) -> bool:
        try:
            async with client_of(self.url_of(number), timeout_seconds=FROZEN_SECONDS) as client:
                facts = await client.info("replication")
                if number != self.primary and facts["role"] == "master":
                    await client.replicaof(HOST, str(way))
        except (RedisError, OSError, TimeoutError):  # being started again
            return False
        return facts.get("master_port") == way and facts.get("master_link_status") == "up"

    @asynccontextmanager
    async def _sentinel(self) -> AsyncIterator[Redis]:
        url = f"redis://{HOST}:{self._sentinel_port}"
        async with client_of(url, timeout_seconds=FROZEN_SECONDS) as client:
            yield client


@asynccontextmanager
async def running_watched_up(event_log: str) -> AsyncIterator[WatchedUp]:
    """A new watched stack, which must still run at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-chaos-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ways = {}
        for port in [free_port() for _ in range(SERVERS)]:
            ways[port] = await stack.enter_async_context(FaultyProxy(port))
        ports = (free_port(), free_port())
        ledger_ways = (FaultyProxy(ports[0]), FaultyProxy(ports[0]))
        for proxy in ledger_ways:
            await stack.enter_async_context(proxy)
        ledger = LedgerPorts(*ports, *(proxy.port for proxy in ledger_ways))
        running = WatchedUp(folder, ways, ledger, ledger_ways, event_log)
        stack.push_async_callback(running.stop)
        await running.start()
        following = asyncio.create_task(running.follow())
        try:
            yield running
        finally:
            following.cancel()
            (ended,) = await asyncio.gather(following, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended
        assert running.process.poll() is None, running.output
