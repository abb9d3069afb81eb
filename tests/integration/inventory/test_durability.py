"""Durability modes: what the server must be set to, and a refusal to start where it is not."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
import redis.asyncio

from config.settings import RedisSettings
from config.stack.redis import RedisServer
from gateway.inventory.errors import Recovering, UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.durability import DurabilityMismatch
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import ReserveRequest
from tests.support.sales.partitions import (
    FINGERPRINT,
    ONE_UNIT,
    one_item,
    open_sale,
    open_store,
    token_of,
)
from tests.support.sentinel import STRICT
from tests.support.servers import patient_redis
from tests.support.waiting import WAIT_SECONDS, wait_until

CALLS_AT_ONCE = 40
HASTY_SECONDS = 0.3


@asynccontextmanager
async def server(folder: Path, overrides: Mapping[str, str]) -> AsyncIterator[RedisServer]:
    running = RedisServer(folder, overrides=overrides)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.mark.parametrize(
    ("durability", "overrides", "complaint"),
    [
        ("fsync", {"appendfsync": "everysec"}, "appendfsync is everysec"),
        ("fsync", {"appendonly": "no"}, "appendonly is off"),
        ("relaxed", {"appendonly": "no"}, "appendonly is off"),
        ("fsync", {"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
        ("relaxed", {"maxmemory-policy": "volatile-ttl"}, "maxmemory-policy is volatile-ttl"),
        ("replica", {}, "min-replicas-to-write is 0"),
        (
            "replica",
            {"min-replicas-to-write": "1", "min-replicas-max-lag": "10"},
            "min-replicas-max-lag is above 2",
        ),
    ],
)
async def test_a_server_that_keeps_less_than_promised_is_refused(
    tmp_path: Path,
    durability: Literal["fsync", "replica", "relaxed"],
    overrides: dict[str, str],
    complaint: str,
) -> None:
    async with server(tmp_path / "redis", overrides) as running:
        with pytest.raises(DurabilityMismatch, match=complaint):
            async with open_store(patient_redis(running.url, durability=durability)):
                pass


@pytest.mark.parametrize(
    ("durability", "overrides"), [("fsync", {}), ("relaxed", {"appendfsync": "everysec"})]
)
async def test_a_server_that_keeps_enough_is_taken(
    tmp_path: Path, durability: Literal["fsync", "relaxed"], overrides: dict[str, str]
) -> None:
    async with (
        server(tmp_path / "redis", overrides) as running,
        open_store(patient_redis(running.url, durability=durability)) as (pool, _),
    ):
        assert pool.connected
        assert pool.durability == durability


async def test_a_primary_that_takes_no_writes_confirms_nothing(
    tmp_path: Path, sale_id: str
) -> None:
    """A replayed answer was written by another call: only a later write can be waited for."""
    async with (
        server(tmp_path / "primary", STRICT) as primary,
        server(tmp_path / "replica", {"replicaof": f"127.0.0.1 {primary.port}"}),
    ):
        await wait_until(lambda: in_step(primary), "the replica is in step")
        patient = patient_redis(
            primary.url, durability="replica", replica_wait_seconds=WAIT_SECONDS
        )
        async with open_store(patient) as (_, store):
            partition = await open_sale(store, sale_id, one_item(10))
            request = ReserveRequest(1, token_of("ada"), "ada", FINGERPRINT, ONE_UNIT)
            for outcome in ("accepted", "replayed"):
                assert (await store.reserve(partition, [request]))[0].outcome == outcome
            async with redis.asyncio.Redis.from_url(primary.url, protocol=2) as client:
                await client.config_set("min-replicas-to-write", 2)
            with pytest.raises(UnknownOutcome, match="refused the write to wait for"):
                await store.reserve(partition, [request])


async def test_as_many_replicas_have_it_as_the_primary_demands(
    tmp_path: Path, sale_id: str
) -> None:
    """Where that is every replica, no failover can lose an answer, whichever Sentinel promotes."""
    async with AsyncExitStack() as stack:
        demanding = STRICT | {"min-replicas-to-write": "2"}
        primary = await stack.enter_async_context(server(tmp_path / "primary", demanding))
        following = {"replicaof": f"127.0.0.1 {primary.port}"}
        await stack.enter_async_context(server(tmp_path / "one", following))
        replica = await stack.enter_async_context(server(tmp_path / "other", following))
        await wait_until(lambda: in_step(primary, 2), "the replicas are in step")
        async with accepted_before_it_stops(primary, replica, sale_id) as (store, request):
            with pytest.raises((UnknownOutcome, Recovering)):
                await store.reserve(PartitionId(sale_id, 0), [request])


@asynccontextmanager
async def accepted_before_it_stops(
    primary: RedisServer, replica: RedisServer, sale_id: str
) -> AsyncIterator[tuple[ReservationStore, ReserveRequest]]:
    """A reserve of sale's partition 0 that was accepted; then the replica stops during the block,
    and the store waits for replicas no longer than HASTY_SECONDS.
    """
    hasty = patient_redis(primary.url, durability="replica", replica_wait_seconds=HASTY_SECONDS)
    patient = hasty.model_copy(update={"replica_wait_seconds": WAIT_SECONDS})
    async with open_store(patient) as (_, before_it), open_store(hasty) as (_, store):
        partition = await open_sale(before_it, sale_id, one_item(10))
        request = ReserveRequest(1, token_of("ada"), "ada", FINGERPRINT, ONE_UNIT)
        assert (await before_it.reserve(partition, [request]))[0].outcome == "accepted"
        replica.process.send_signal(signal.SIGSTOP)
        try:
            yield store, request
        finally:
            replica.process.send_signal(signal.SIGCONT)


async def test_replica_mode_answers_only_what_a_replica_has(tmp_path: Path, sale_id: str) -> None:
    async with (
        server(tmp_path / "primary", STRICT) as primary,
        server(tmp_path / "replica", {"replicaof": f"127.0.0.1 {primary.port}"}) as replica,
    ):
        await wait_until(lambda: in_step(primary), "the replica is in step")
        async with accepted_before_it_stops(primary, replica, sale_id) as (store, request):
            partition = PartitionId(sale_id, 0)
            late = ReserveRequest(2, token_of("bob"), "bob", FINGERPRINT, ONE_UNIT)
            # Recovering once the primary has missed its replica, and takes no more writes.
            with pytest.raises((UnknownOutcome, Recovering)):
                await store.reserve(partition, [late])
            # A replay promises no more than a first answer.
            with pytest.raises((UnknownOutcome, Recovering)):
                await store.reserve(partition, [request])
            before = await waits(primary)
            asked = [store.snapshot(partition) for _ in range(CALLS_AT_ONCE)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(one) for one in found} == {UnknownOutcome}
            # One after another, the callers would wait 0.3 s each.
            assert await waits(primary) - before <= 2 * RedisSettings().connections


async def waits(server: RedisServer) -> int:
    """How many times WAIT was called."""
    client = redis.asyncio.Redis.from_url(server.url, protocol=2)
    try:
        return int((await client.info("commandstats"))["cmdstat_wait"]["calls"])
    finally:
        await client.aclose()


async def in_step(primary: RedisServer, replicas: int = 1) -> bool:
    client = redis.asyncio.Redis.from_url(primary.url, protocol=2)
    try:
        return bool((await client.info("replication"))["min_slaves_good_slaves"] >= replicas)
    finally:
        await client.aclose()
