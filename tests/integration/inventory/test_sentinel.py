"""Finding the primary by Sentinels, and the settings that Sentinels exclude."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from pydantic import ValidationError
from redis.exceptions import RedisError

from config.settings import RedisSettings
from config.stack.redis import RedisServer
from config.stack.server import HOST, free_port
from gateway.inventory.errors import InventoryError, PartitionLost, Recovering
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.connection import RedisAddress
from gateway.inventory.redis.durability import DurabilityMismatch
from gateway.inventory.redis.outbox import create_reader, read_run_id
from gateway.inventory.redis.primary import Primary
from tests.support.sales.partitions import open_store
from tests.support.sentinel import MASTER, STRICT, OwnedRedis, SentinelServer
from tests.support.servers import patient_redis
from tests.support.waiting import wait_until

PARTITION = PartitionId("nothing", 0)


@pytest_asyncio.fixture
async def primaries(tmp_path: Path) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """Two servers, each named as the primary by one Sentinel."""
    async with AsyncExitStack() as stack:
        servers = [OwnedRedis(tmp_path / name, overrides=STRICT) for name in ("old", "new")]
        for server in servers:
            stack.push_async_callback(server.stop)
            await server.start()
        yield servers[0], servers[1]


@pytest_asyncio.fixture
async def sentinels(
    tmp_path: Path, primaries: tuple[RedisServer, RedisServer]
) -> AsyncIterator[tuple[SentinelServer, SentinelServer]]:
    """A Sentinel that has not heard of the last switch, and a Sentinel that has."""
    async with AsyncExitStack() as stack:
        made = [
            SentinelServer(tmp_path / f"sentinel-{epoch}", server.port, config_epoch=epoch)
            for epoch, server in enumerate(primaries, start=7)
        ]
        for server in made:
            stack.push_async_callback(server.stop)
            await server.start()
        yield made[0], made[1]


def watched(*servers: SentinelServer, **own: object) -> RedisSettings:
    at = ",".join(f"{HOST}:{server.port}" for server in servers)
    return patient_redis(f"redis://{HOST}", sentinels=at, sentinel_master=MASTER, **own)


async def test_the_sentinel_with_the_newest_configuration_is_believed(
    primaries: tuple[RedisServer, RedisServer], sentinels: tuple[SentinelServer, SentinelServer]
) -> None:
    old, new = sentinels
    for settings in (watched(old, new), watched(new, old)):
        assert (await Primary(settings).locate()).port == primaries[1].port
    await new.stop()  # only clients that are cut off with this Sentinel ask it
    assert (await Primary(watched(old, new)).locate()).port == primaries[0].port
    await old.stop()
    with pytest.raises(Recovering, match="no Sentinel"):
        await Primary(watched(old, new)).locate()


async def test_whoever_is_with_an_old_primary_leaves_it(
    sentinels: tuple[SentinelServer, SentinelServer],
) -> None:
    old, new = sentinels
    await new.stop()
    settings = watched(old, new, durability="relaxed")
    reader = create_reader(settings)
    async with open_store(settings) as (_, store):
        before = await read_run_id(reader)
        await new.start()

        async def has_moved() -> bool:
            try:
                return await read_run_id(reader) != before
            except RedisError:
                return False

        await wait_until(has_moved, "redis-py is with the new one")
        after = await read_run_id(reader)

        async def all_moved() -> bool:
            try:
                await store.snapshot(PARTITION, at_run=after)
            except PartitionLost:  # it was asked: no sale was ever loaded
                return True
            except InventoryError:
                return False
            raise AssertionError("there is no sale")

        await wait_until(all_moved, "so are the scripts")
    await reader.aclose()


@pytest.mark.parametrize("durability", ["fsync", "relaxed", "replica"])
async def test_a_primary_that_would_write_on_alone_is_refused(
    tmp_path: Path, durability: str
) -> None:
    lax = RedisServer(tmp_path / "lax")
    sentinel = SentinelServer(tmp_path / "sentinel", lax.port)
    try:
        await lax.start()
        await sentinel.start()
        settings = watched(sentinel, durability=durability, allow_failover_loss=True)
        with pytest.raises(DurabilityMismatch, match="min-replicas-to-write is 0"):
            async with open_store(settings):
                pass
    finally:
        await sentinel.stop()
        await lax.stop()


async def test_fsync_is_refused_under_sentinels_unless_the_loss_is_allowed(
    sentinels: tuple[SentinelServer, SentinelServer],
) -> None:
    with pytest.raises(DurabilityMismatch, match="choose durability replica"):
        async with open_store(watched(*sentinels)):
            pass
    async with open_store(watched(*sentinels, allow_failover_loss=True)) as (pool, _):
        assert pool.connected


async def test_a_replica_is_not_taken_for_the_primary(tmp_path: Path) -> None:
    alone = RedisServer(tmp_path / "replica", overrides={"replicaof": f"{HOST} {free_port()}"})
    try:
        await alone.start()
        async with open_store(patient_redis(alone.url)) as (pool, _):
            assert not pool.connected
    finally:
        await alone.stop()


def test_a_connection_that_is_lost_just_now_is_an_outage_and_no_defect(redis_url: str) -> None:
    async def ask() -> None:
        async with create_reader(patient_redis(redis_url)) as reader:
            pool: Any = reader.connection_pool
            connection = await pool.get_connection()
            connection._writer.transport.abort()
            with pytest.raises(RedisError):
                await connection.send_command("PING")
            await pool.release(connection)
            assert await reader.ping()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in production
        runner.run(ask())


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://us%3Aer:p%40ss@redis.internal:6380/2",
        "redis://:secret@[::1]:7000/1",
    ],
)
def test_an_address_is_written_as_it_is_read(url: str) -> None:
    assert RedisAddress.parse(url).url == url


@pytest.mark.parametrize("sentinels", ["", "one", "one:", ":26379", "one:26379,", "one:two"])
def test_sentinels_that_are_none_are_refused(sentinels: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        RedisSettings(sentinels=sentinels)
