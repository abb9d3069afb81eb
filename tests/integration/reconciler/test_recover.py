"""A Redis that restarts: the same history goes on under the next epoch, another is rebuilt."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from config.settings import EventLogSettings, Settings
from config.stack.redis import RedisServer
from gateway.inventory.catalog import PartitionBounds
from gateway.inventory.errors import InventoryError, Recovering
from gateway.inventory.keys import PartitionId, partition_keys, relay_key
from gateway.inventory.opening import open_sale
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Snapshot
from gateway.relay.service import run as run_relay
from lua.loader import load_scripts
from order_writer.service import run as run_order_writer
from reconciler.by_hand import recover_of, run_once
from reconciler.context import open_context
from reconciler.duties.recover import Recover
from reconciler.rebuilding.log_end import require_log_applied
from reconciler.rebuilding.rebuild import Rebuild, rebuild
from reconciler.service import run as run_reconciler
from tests.support.sales.partitions import BOUNDS, one_item, open_store, token_of
from tests.support.sales.pipeline import create_sale, pipeline, running
from tests.support.sales.reserving import reserve
from tests.support.servers import append_only_file, patient_redis, unique
from tests.support.waiting import WAIT_SECONDS, wait_until

HOLD_SECONDS = 3600


@pytest_asyncio.fixture
async def server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """A Redis of this test's own, to be killed."""
    started = RedisServer(servers_folder / unique("redis"))
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def own(settings: Settings, server: RedisServer) -> Settings:
    return settings.model_copy(update={"redis": patient_redis(server.url)})


@pytest.fixture
def on_kafka(own: Settings, kafka_event_log: EventLogSettings) -> Settings:
    return own.model_copy(update={"event_log": kafka_event_log})


@pytest_asyncio.fixture
async def store(own: Settings) -> AsyncIterator[ReservationStore]:
    async with open_store(own.redis) as (_, opened):
        yield opened


@pytest_asyncio.fixture
async def partition(ledger: asyncpg.Connection, store: ReservationStore) -> PartitionId:
    """A sale with a hold in it, of which the ledger has nothing yet."""
    sale_id = unique("recover")
    partition = await create_sale(ledger, sale_id, one_item(5, hold_seconds=HOLD_SECONDS))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    assert (await reserve(store, partition, "before")).outcome == "accepted"
    return partition


async def restart(server: RedisServer) -> None:
    server.kill()
    assert await server.child.wait_exit(WAIT_SECONDS)
    await server.start()


async def answered(store: ReservationStore, partition: PartitionId) -> Snapshot | None:
    """The snapshot once the partition takes reserves again; each try has a new buyer."""
    try:
        reply = await reserve(store, partition, "after")
        assert reply.outcome in {"accepted", "replayed"}
        return await store.snapshot(partition)
    except InventoryError:
        return None


async def recovered(store: ReservationStore, partition: PartitionId) -> Snapshot:
    return await wait_until(lambda: answered(store, partition), "recovery")


async def deadline_in_ledger(ledger: asyncpg.Connection) -> int:
    return int(
        await ledger.fetchval(
            "SELECT (extract(epoch FROM deadline) * 1000)::bigint FROM reservations "
            "WHERE buyer_id = 'before'"
        )
    )


async def test_a_killed_redis_goes_on_by_itself_and_holds_keep_their_time(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
) -> None:
    (before,) = await store.read(partition, [token_of("before")])
    assert before is not None
    async with pipeline(own):

        async def alive() -> bool:
            return bool(await ledger.fetchval("SELECT alive_at FROM watermarks"))

        await wait_until(alive)
        await restart(server)
        snapshot = await recovered(store, partition)
        assert (snapshot.epoch, snapshot.sequence) == (2, 2)  # recover, and the reserve after it
        assert (await reserve(store, partition, "before")).outcome == "replayed"
        (after,) = await store.read(partition, [token_of("before")])
        assert after is not None
        assert after.deadline == before.deadline + snapshot.shift_ms

        async def applied() -> bool:
            row = await ledger.fetchrow("SELECT epoch, sequence FROM watermarks")
            return row is not None and (row["epoch"], row["sequence"]) == (2, 2)

        await wait_until(applied)
        assert await deadline_in_ledger(ledger) == after.deadline
        assert (await run_once(own, "reconcile", partition.sale_id)).endswith("balanced at 0@2-2")

        # A second time: each epoch continues the epoch before.
        await restart(server)
        assert (await recovered(store, partition)).epoch == 3
    rows = await ledger.fetch("SELECT epoch, next_epoch FROM closed_epochs ORDER BY epoch")
    assert [(row["epoch"], row["next_epoch"]) for row in rows] == [(1, 2), (2, 3)]


async def test_recovery_waits_for_the_ledger(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
) -> None:
    await restart(server)
    async with running(run_reconciler, own):
        with pytest.raises(InventoryError):
            await reserve(store, partition, "after")

        async def looked() -> bool:
            return "the ledger is at" in await run_once(own, "recover", partition.sale_id)

        await wait_until(looked)
        assert await ledger.fetchval("SELECT count(*) FROM closed_epochs") == 0
        async with running(run_order_writer, own):
            await recovered(store, partition)


async def test_a_recovery_that_crashed_after_closing_the_epoch_is_repeated(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
) -> None:
    async with running(run_order_writer, own):

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

        await wait_until(applied)
        await restart(server)
        await ledger.execute(
            "INSERT INTO closed_epochs SELECT sale_id, partition, epoch, sequence, fingerprint, 7 "
            "FROM watermarks"
        )
        async with running(run_reconciler, own):
            assert (await recovered(store, partition)).epoch == 7


async def stays_closed(own: Settings, store: ReservationStore, partition: PartitionId) -> str:
    """The reason, from a recovery by hand; the running reconciler keeps it closed, too."""
    report = await run_once(own, "recover", partition.sale_id)
    assert report.startswith(f"{partition}: stays closed")
    with pytest.raises(Recovering):
        await reserve(store, partition, "after")
    return report


async def connected(store: ReservationStore, partition: PartitionId) -> bool:
    try:
        await store.snapshot(partition)
    except InventoryError:
        return False
    return True


@pytest.mark.parametrize("loss", ["an event", "other bytes", "everything"])
async def test_a_redis_that_is_not_the_ledgers_is_rebuilt_from_it(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
    loss: str,
) -> None:
    async with running(run_order_writer, own):

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

        await wait_until(applied)
    client = redis.asyncio.Redis.from_url(server.url)
    outbox = f"{{{partition}}}:outbox"
    if loss == "an event":
        await client.xtrim(outbox, maxlen=3)
        await client.xdel(outbox, "1-3")
        await client.hset(f"{{{partition}}}:meta", "sequence", "2")
    elif loss == "other bytes":
        await client.xdel(outbox, "1-3")
        # Below the stream's last id nothing can be added: the stream is made anew.
        await client.delete(outbox)
        await client.xadd(outbox, {"event": "forged"}, id="1-3")
    else:
        await client.flushall()
    await client.aclose()
    await restart(server)
    async with pipeline(own):
        snapshot = await recovered(store, partition)
        assert snapshot.epoch > 1
        assert (snapshot.accounts[0].held, snapshot.accounts[0].available) == (2, 3)
        retry = await reserve(store, partition, "before")
        assert retry.outcome == "replayed"
        (found,) = await store.read(partition, [token_of("before")])
        assert found is not None

        async def applied_too() -> bool:
            return bool(await ledger.fetchval("SELECT epoch FROM watermarks") == snapshot.epoch)

        await wait_until(applied_too)
        assert await deadline_in_ledger(ledger) == found.deadline
        assert "balanced at" in await run_once(own, "reconcile", partition.sale_id)


async def test_a_key_that_is_lost_or_of_another_type_is_rebuilt_on_the_running_server(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
) -> None:
    client = redis.asyncio.Redis.from_url(server.url)
    meta, stock, records, *_ = keys = partition_keys(partition)

    async def damage(key: bytes) -> None:
        await client.set(key, "of another type")

    async def lose(key: bytes) -> None:
        await client.delete(key)

    async def lose_counter(key: bytes) -> None:
        await client.hdel(key, "sku:default:held")

    async with pipeline(own):
        epoch = 1
        # Another buyer reserves first, so that there is something to lose.
        assert (await reserve(store, partition, "after")).outcome == "accepted"
        harm = [(damage, key) for key in keys] + [
            (lose, meta), (lose, records), (lose_counter, stock),
        ]  # fmt: skip
        for how, key in harm:
            at = await store.snapshot(partition)

            async def applied(at: Snapshot = at) -> bool:
                row = await ledger.fetchrow("SELECT epoch, sequence FROM watermarks")
                return row is not None and (row["epoch"], row["sequence"]) == (
                    at.epoch,
                    at.sequence,
                )

            await wait_until(applied)
            await how(key)

            async def reopened(after: int = epoch) -> Snapshot | None:
                found = await answered(store, partition)
                return found if found is not None and found.epoch > after else None

            snapshot = await wait_until(reopened, f"{key!r} is rebuilt")
            assert (snapshot.accounts[0].held, snapshot.accounts[0].available) == (2, 3)
            assert (await reserve(store, partition, "before")).outcome == "replayed"
            epoch = snapshot.epoch
        assert "balanced at" in await run_once(own, "reconcile", partition.sale_id)
    await client.aclose()


async def test_in_mode_relaxed_the_last_answers_may_be_lost_but_no_unit_is_sold_twice(
    settings: Settings, servers_folder: Path
) -> None:
    """A machine that dies takes with it what was not on its disk yet."""
    folder = servers_folder / unique("redis")
    server = RedisServer(folder, overrides={"appendfsync": "everysec"})
    await server.start()
    own = settings.model_copy(update={"redis": patient_redis(server.url, durability="relaxed")})
    ledger = await asyncpg.connect(own.postgres.dsn)
    async with open_store(own.redis) as (_, store):
        partition = await create_sale(ledger, unique("relaxed"), one_item(2))
        await open_sale(ledger, store, partition.sale_id, BOUNDS, actor="test")
        async with running(run_order_writer, own):
            assert (await reserve(store, partition, "before")).outcome == "accepted"

            async def applied() -> bool:
                return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

            await wait_until(applied)
        log = append_only_file(folder)
        written_bytes = log.stat().st_size
        assert (await reserve(store, partition, "lost")).outcome == "accepted"
        server.kill()
        assert await server.child.wait_exit(WAIT_SECONDS)
        os.truncate(log, written_bytes)
        await server.start()
        async with pipeline(own):
            # The only unit left was promised to a buyer whom Redis has forgotten.
            snapshot = await recovered(store, partition)
            assert (snapshot.accounts[0].held, snapshot.accounts[0].available) == (2, 0)
            assert (await reserve(store, partition, "lost")).outcome == "sold_out"
            assert (await reserve(store, partition, "before")).outcome == "replayed"
            assert "balanced at" in await run_once(own, "reconcile", partition.sale_id)
    await ledger.close()
    await server.stop()


async def test_a_redis_that_could_not_be_asked_is_no_reason_to_rebuild(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
) -> None:
    async with running(run_order_writer, own):

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

        await wait_until(applied)
    async with open_context(own) as context:
        # Its scripts have no connection, while all others serve buyers well.
        cut_off = replace(context, store=ReservationStore(ScriptPool(own.redis, load_scripts())))
        report = await recover_of(cut_off).recover_sale(partition.sale_id)
    assert report == [(partition, "stays closed: no connection to Redis")]
    assert await ledger.fetchval("SELECT count(*) FROM closed_epochs") == 0
    assert (await reserve(store, partition, "after")).outcome == "accepted"


async def test_a_partition_with_a_dead_letter_stays_closed(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
) -> None:
    async with running(run_order_writer, own):

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

        await wait_until(applied)
    await ledger.execute(
        "INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reason, error, "
        "raw) VALUES ('x', $1, 0, 1, 3, 'refused', 'no', '\\x00')",
        partition.sale_id,
    )
    await restart(server)
    await wait_until(lambda: connected(store, partition))
    assert "dead_letters_open" in await stays_closed(own, store, partition)


async def test_recovery_leads_in_place_of_the_relay_while_it_looks_for_the_end_of_the_log(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = redis.asyncio.Redis.from_url(server.url)
    leading = []

    async def looked(settings: EventLogSettings, place: PartitionId, run: str) -> None:
        leading.append(await client.hget(relay_key(partition), "owner"))
        await require_log_applied(settings, place, run)

    async def applied() -> bool:
        return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

    async def relayed() -> bool:
        return await client.hget(relay_key(partition), "position") == b"2-2"

    monkeypatch.setattr("reconciler.duties.recover.require_log_applied", looked)
    async with running(run_relay, on_kafka), pipeline(on_kafka):
        await wait_until(applied)
        relay = await client.hget(relay_key(partition), "owner")
        await restart(server)
        assert (await recovered(store, partition)).epoch == 2
        await wait_until(relayed, "the relay leads again")
        assert await client.hget(relay_key(partition), "owner") == relay
    await client.aclose()
    assert leading
    assert None not in leading
    assert relay not in leading


async def test_a_recovery_does_not_wait_for_ever_for_an_offset_that_was_not_committed(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit, failures = AIOKafkaConsumer.commit, 2

    async def fails_at_first(consumer: AIOKafkaConsumer, offsets: object = None) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise KafkaError("the coordinator is away")
        await commit(consumer, offsets)

    async def applied() -> bool:
        return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 3)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", fails_at_first)
    async with running(run_relay, on_kafka), pipeline(on_kafka):
        await wait_until(applied)
        await restart(server)  # nobody buys, so no new event moves the offsets
        assert (await recovered(store, partition)).epoch == 2
    assert failures < 0


async def test_a_rebuild_takes_as_long_as_it_needs_and_holds_up_no_other(
    own: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    partition: PartitionId,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Longer than the duty's deadline, while another sale is lost twice, and seen to be alive."""
    monkeypatch.setattr(Recover, "deadline_seconds", 2.0)
    slow = await create_sale(ledger, unique("slow"), one_item(5))
    await open_sale(ledger, store, slow.sale_id, BOUNDS, actor="test")
    begun: list[Rebuild] = []
    go_on = asyncio.Event()

    async def held_back(
        pool: asyncpg.Pool, scripts: ReservationStore, bounds: PartitionBounds, plan: Rebuild
    ) -> int:
        if plan.partition == slow:
            begun.append(plan)
            await go_on.wait()
        return await rebuild(pool, scripts, bounds, plan)

    monkeypatch.setattr("reconciler.duties.recover.rebuild", held_back)
    client = redis.asyncio.Redis.from_url(server.url)

    async def applied() -> bool:
        return bool(await ledger.fetchval("SELECT min(sequence) >= 2 FROM watermarks"))

    async def in_epoch(place: PartitionId, epoch: int) -> bool:
        try:
            return (await store.snapshot(place)).epoch == epoch
        except InventoryError:
            return False

    async def alive_after(moment: int) -> bool:
        alive = "SELECT alive_at FROM watermarks WHERE sale_id = $1"
        return bool(await ledger.fetchval(alive, partition.sale_id) > moment)

    async with pipeline(own):
        await wait_until(applied)
        await client.delete(f"{{{slow}}}:stock")
        await wait_until(lambda: len(begun) == 1, "the slow rebuild is under way")
        for epoch in (2, 3):
            await client.delete(f"{{{partition}}}:stock")
            await wait_until(partial(in_epoch, partition, epoch), "the other recovers")
        moment = (await store.snapshot(partition)).read_at
        for later in (1000, 3000, 5000):
            await wait_until(partial(alive_after, moment + later), "it is alive")
        go_on.set()
        await wait_until(lambda: in_epoch(slow, 2), "the slow one recovers")
    assert len(begun) == 1
    await client.aclose()
