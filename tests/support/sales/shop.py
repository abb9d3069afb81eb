"""One sale on servers of its own, whose ledger can be put back to where it was."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import redis.asyncio

from config.settings import Settings
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer
from gateway.inventory.errors import InventoryError
from gateway.inventory.keys import PartitionId, partition_keys
from gateway.inventory.opening import open_sale
from gateway.inventory.store import ReservationStore
from gateway.relay.service import run as run_relay
from order_writer.service import run as run_order_writer
from reconciler.by_hand import run_once
from reconciler.service import run as run_reconciler
from tests.support.backups import Backup
from tests.support.sales.partitions import BOUNDS, one_item, open_store
from tests.support.sales.pipeline import create_sale, running
from tests.support.sales.reserving import reserve
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until


@dataclass(frozen=True, slots=True)
class Shop:
    """The sale, its partition, and the servers under it."""

    settings: Settings
    partition: PartitionId
    store: ReservationStore
    redis: redis.asyncio.Redis
    redis_server: RedisServer
    backup: Backup

    @asynccontextmanager
    async def processes(self) -> AsyncIterator[None]:
        """Everything behind the gateway."""
        async with AsyncExitStack() as stack:
            runs = [run_order_writer, run_reconciler]
            if self.settings.event_log.kind == "kafka":
                runs.append(run_relay)
            for run in runs:
                await stack.enter_async_context(running(run, self.settings))
            yield

    async def open(self) -> None:
        """Open the sale, as an operator does."""
        ledger = await asyncpg.connect(self.settings.postgres.dsn)
        try:
            await open_sale(ledger, self.store, self.partition.sale_id, BOUNDS, actor="test")
        finally:
            await ledger.close()

    async def buy(self, first: int, count: int) -> list[str]:
        """One unit each for buyers `first` and following; returns the buyers."""
        buyers = [f"buyer-{number}" for number in range(first, first + count)]
        for buyer in buyers:
            assert (await reserve(self.store, self.partition, buyer)).outcome == "accepted"
        return buyers

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of one statement, on a connection of its own: the server goes away between two."""
        connection = await asyncpg.connect(self.settings.postgres.dsn)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def in_ledger(self) -> None:
        """Wait until the ledger has every event that Redis has."""

        async def applied() -> bool:
            snapshot = await self.store.snapshot(self.partition)
            (row,) = await self.fetch("SELECT epoch, sequence, stopped_reason FROM watermarks")
            assert row["stopped_reason"] is None
            return (row["epoch"], row["sequence"]) == (snapshot.epoch, snapshot.sequence)

        await wait_until(applied)

    async def reported(self) -> None:
        """Wait until the ledger has every event, and the partition was told so."""
        await self.in_ledger()

        async def is_reported() -> bool:
            snapshot = await self.store.snapshot(self.partition)
            return snapshot.ledger_sequence == snapshot.sequence

        await wait_until(is_reported)

    async def restart_redis(self) -> None:
        """Kill Redis, start it, and wait for the partition's next epoch; the outbox stays."""
        epoch = (await self.store.snapshot(self.partition)).epoch
        self.redis_server.kill()
        assert await self.redis_server.child.wait_exit(WAIT_SECONDS)
        await self.redis_server.start()
        await self._begun_after(epoch)

    async def lose_buyers(self) -> None:
        """Lose a key of the partition, and wait for its next epoch; the outbox begins anew."""
        epoch = (await self.store.snapshot(self.partition)).epoch
        await self.redis.delete(partition_keys(self.partition)[3])
        await self._begun_after(epoch)

    async def _begun_after(self, epoch: int) -> None:
        async def answers() -> bool:
            try:
                await self.store.expire(self.partition, 1)
                return (await self.store.snapshot(self.partition)).epoch > epoch
            except InventoryError:
                return False

        await wait_until(answers)

    async def closed_epochs(self) -> list[tuple[int, int, int]]:
        """Epoch, last sequence and next epoch of every closing in the ledger."""
        rows = await self.fetch(
            "SELECT epoch, last_sequence, next_epoch FROM closed_epochs ORDER BY epoch"
        )
        return [tuple(row) for row in rows]

    async def buyers_in_ledger(self) -> list[str]:
        """The buyers of all orders."""
        rows = await self.fetch("SELECT buyer_id FROM reservations")
        return sorted(row["buyer_id"] for row in rows)

    async def balanced(self) -> bool:
        """Whether Redis and ledger agree to the unit and the field."""
        return "balanced" in await run_once(self.settings, "reconcile", self.partition.sale_id)


@asynccontextmanager
async def open_shop(
    settings: Settings, postgres: PostgresServer, redis_server: RedisServer
) -> AsyncIterator[Shop]:
    """A shop whose sale is a draft."""
    sale_id = unique("older")
    client = redis.asyncio.Redis.from_url(redis_server.url, protocol=2)
    async with open_store(settings.redis) as (_, store):
        ledger = await asyncpg.connect(settings.postgres.dsn)
        partition = await create_sale(ledger, sale_id, one_item(1000, hold_seconds=3600))
        await ledger.close()
        yield Shop(settings, partition, store, client, redis_server, Backup(postgres))
    await client.aclose()
