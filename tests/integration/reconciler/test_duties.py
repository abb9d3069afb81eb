"""The reconciler's process on real servers: holds return, windows are kept, outboxes trimmed."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
import redis.asyncio

from config.settings import PostgresSettings, Settings
from config.stack.postgres import PostgresServer
from gateway.admission.waiting_room.keys import room_keys
from gateway.admission.waiting_room.outboxes import flat_cursors, read_used_places
from gateway.admission.waiting_room.store import NEVER_MS, RoomStore, TickRequest
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import Verb, carry_state, intend_state, open_sale
from gateway.inventory.redis.outbox import read_outbox
from gateway.inventory.specs import WaitingRoomSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import Reservation, ReservationState, ReserveRequest
from order_writer.service import run as run_order_writer
from reconciler.by_hand import run_once
from reconciler.service import run as run_reconciler
from tests.support.network.proxy import FaultyProxy
from tests.support.sales.partitions import (
    BOUNDS,
    FINGERPRINT,
    ONE_UNIT,
    one_item,
    open_store,
    token_of,
)
from tests.support.sales.pipeline import create_sale, keeping, pipeline, running, state_of
from tests.support.sales.reconciliations import reconciled
from tests.support.sales.reserving import reserve
from tests.support.scripts.room import OPENING
from tests.support.servers import unique
from tests.support.waiting import wait_until


@pytest.fixture
def sale_id() -> str:
    return unique("duties")


async def available(store: ReservationStore, partition: PartitionId) -> int:
    return (await store.snapshot(partition)).accounts[0].available


async def in_ledger(
    ledger: asyncpg.Connection, store: ReservationStore, partition: PartitionId
) -> None:
    """Wait until the ledger has all events there are."""

    async def applied() -> bool:
        mark = await ledger.fetchval("SELECT sequence FROM watermarks")
        return bool(mark == (await store.snapshot(partition)).sequence)

    await wait_until(applied)


async def test_a_due_hold_is_sellable_again_without_anybody_asking(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(1))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    meta = f"{{{partition}}}:meta"
    usual = await redis_client.hget(meta, "hold_ms")
    assert usual is not None
    async with pipeline(settings):
        assert (await reserve(store, partition, "holder")).outcome == "accepted"
        assert (await reserve(store, partition, "second")).outcome == "sold_out"
        await store.cancel(partition, token_of("holder"), "holder")
        await redis_client.hset(meta, "hold_ms", "1")  # so that only this hold lapses
        assert (await reserve(store, partition, "first")).outcome == "accepted"
        await redis_client.hset(meta, "hold_ms", usual)

        async def returned() -> bool:
            return await available(store, partition) == 1

        await wait_until(returned)
        assert (await reserve(store, partition, "second")).outcome == "accepted"
        snapshot = await store.snapshot(partition)

        async def applied() -> bool:
            row = await ledger.fetchrow("SELECT * FROM reservations WHERE state = 'expired'")
            return row is not None and row["buyer_id"] == "first"

        await wait_until(applied)
        assert snapshot.due_holds == 0


async def test_a_step_of_redis_clock_pins_no_partition(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: "redis.asyncio.Redis",
) -> None:
    """The server's clock was an hour ahead for a moment, and is right again."""
    partition = await create_sale(ledger, sale_id, one_item(1, hold_seconds=1))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    meta = f"{{{partition}}}:meta"
    wrong = (await store.snapshot(partition)).read_at + 3_600_000
    await redis_client.hset(meta, "last_time", str(wrong))
    held = (await reserve(store, partition, "first")).detail
    assert isinstance(held, Reservation)
    assert held.deadline == wrong + 1000
    async with pipeline(settings):

        async def returned() -> bool:
            return await available(store, partition) == 1

        await wait_until(returned, "the hold of a second is over")
        (over,) = await store.read(partition, [token_of("first")])
        assert over is not None
        assert over.state == ReservationState.EXPIRED
        assert over.deadline < wrong
        assert (await reserve(store, partition, "second")).outcome == "accepted"
        await in_ledger(ledger, store, partition)
        deadline_ms = await ledger.fetchval(
            "SELECT (extract(epoch FROM deadline) * 1000)::bigint FROM reservations "
            "WHERE buyer_id = 'first'"
        )
        assert deadline_ms == over.deadline


async def test_due_holds_return_while_postgres_hangs(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    postgres_server: PostgresServer,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(1, hold_seconds=1))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")

    async def returned() -> bool:
        return await available(store, partition) == 1

    async with FaultyProxy(postgres_server.port) as proxy:
        through = urlsplit(settings.postgres.dsn)
        netloc = through.netloc.rpartition(":")[0] + f":{proxy.port}"
        hanging = PostgresSettings(dsn=through._replace(netloc=netloc).geturl(), pool_size=4)
        async with running(run_reconciler, settings.model_copy(update={"postgres": hanging})):
            assert (await reserve(store, partition, "while it answers")).outcome == "accepted"
            await wait_until(returned)
            proxy.hold_replies()
            for buyer in ("silent", "silent still"):
                assert (await reserve(store, partition, buyer)).outcome == "accepted"
                await wait_until(returned)
            proxy.cut()
            assert (await reserve(store, partition, "cut off")).outcome == "accepted"
            await wait_until(returned)


async def test_a_sale_opens_and_closes_at_its_times(
    settings: Settings, ledger: asyncpg.Connection, store: ReservationStore, sale_id: str
) -> None:
    now = datetime.now(UTC)
    spec = msgspec.structs.replace(
        one_item(5), opens_at=now + timedelta(seconds=1), closes_at=now + timedelta(hours=1)
    )
    partition = await create_sale(ledger, sale_id, spec)
    async with pipeline(settings):

        async def in_state(state: str) -> bool:
            try:
                snapshot = await store.snapshot(partition)
            except Recovering:
                return False
            return snapshot.state == state == await state_of(ledger, sale_id)

        await wait_until(lambda: in_state("open"))
        assert (await reserve(store, partition, "buyer")).outcome == "accepted"
        await ledger.execute("UPDATE sales SET closes_at = now()")
        await wait_until(lambda: in_state("closed"))
        assert (await reserve(store, partition, "late")).outcome == "not_open"
    actions = await ledger.fetch("SELECT action FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in actions] == ["sale_open", "sale_close"]


@pytest.mark.parametrize("verbs", [(Verb.OPEN,), (Verb.OPEN, Verb.PAUSE), (Verb.OPEN, Verb.CLOSE)])
async def test_a_state_that_a_crash_left_in_the_ledger_alone_is_carried_to_redis(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
    verbs: tuple[Verb, ...],
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(5))
    for verb in verbs:
        assert (await intend_state(ledger, sale_id, verb)).outcome == "changed"
    with pytest.raises(Recovering):
        await store.snapshot(partition)
    wanted = await state_of(ledger, sale_id)
    async with pipeline(settings):

        async def carried() -> bool:
            try:
                return (await store.snapshot(partition)).state == wanted
            except Recovering:
                return False

        await wait_until(carried)
        await in_ledger(ledger, store, partition)
    # From here on missing keys are lost data and never a place to load into.
    await redis_client.flushall()
    with pytest.raises(Recovering):
        await carry_state(ledger, store, sale_id, BOUNDS, actor="test")


async def test_the_outbox_is_trimmed_to_the_ledgers_last_event(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(50))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    async with running(run_reconciler, keeping(settings, 0.0)):
        for number in range(20):
            await reserve(store, partition, f"buyer-{number}")
        # No event is applied yet, so no event may be trimmed.
        assert (await store.snapshot(partition)).outbox_length == 22
        async with running(run_order_writer, settings):

            async def trimmed() -> bool:
                return (await store.snapshot(partition)).outbox_length == 1

            await wait_until(trimmed)
    (last,) = await read_outbox(redis_client, partition, Position(0, 0), 10)
    assert last.position == Position(1, 22)
    assert (await store.snapshot(partition)).ledger_sequence == 22


@pytest.mark.parametrize(("kept_events", "left"), [(100, 22), (3, 4)])
async def test_what_the_ledger_has_stays_for_a_while_but_not_without_end(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    kept_events: int,
    left: int,
) -> None:
    """A ledger that comes back older takes its events from there."""
    partition = await create_sale(ledger, sale_id, one_item(50))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    for number in range(20):
        await reserve(store, partition, f"buyer-{number}")
    async with running(run_order_writer, settings):
        await in_ledger(ledger, store, partition)
    async with running(run_reconciler, keeping(settings, 3600.0, kept_events)):

        async def told() -> bool:
            return (await store.snapshot(partition)).ledger_sequence == 22

        await wait_until(told)
    assert (await store.snapshot(partition)).outbox_length == left


async def test_what_a_waiting_room_has_not_read_stays_in_the_outbox(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
) -> None:
    """Otherwise a slot is lost until it lapses if its reservation is applied between two ticks."""
    spec = msgspec.structs.replace(one_item(5), waiting_room=WaitingRoomSpec(1, 600))
    partition = await create_sale(ledger, sale_id, spec)
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    async with open_store(settings.redis) as (pool, _):
        rooms = RoomStore(pool, redis_client)
        await rooms.open(sale_id, OPENING)
        first = ReserveRequest(1, token_of("first"), "first", FINGERPRINT, ONE_UNIT, 7, NEVER_MS)
        assert (await store.reserve(partition, [first]))[0].outcome == "accepted"
        async with running(run_order_writer, settings):
            await in_ledger(ledger, store, partition)
        told = await run_once(settings, "trim", sale_id)
        assert told == f"{partition}: 0 events trimmed below 1-3"
        used = await read_used_places(redis_client, (partition,), {})
        assert used.places == (7,)
        cursors = flat_cursors(used.cursors)
        await rooms.tick(sale_id, TickRequest(0, used_places=used.places, cursors=cursors))
    assert await run_once(settings, "trim", sale_id) == f"{partition}: 2 events trimmed below 1-3"


@pytest.mark.parametrize("reader", ["relay", "waiting room"])
async def test_what_another_has_not_read_stays_but_not_without_end(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(5))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    for number in range(5):
        await reserve(store, partition, f"buyer-{number}")
    async with running(run_order_writer, settings):
        await in_ledger(ledger, store, partition)
    if reader == "relay":
        log = settings.event_log.model_copy(update={"kind": "kafka", "kept_events": 3})
        settings = settings.model_copy(update={"event_log": log})
    else:
        monkeypatch.setattr("reconciler.duties.trim.ROOM_EVENTS_MAX", 3)
        async with open_store(settings.redis) as (pool, _):
            await RoomStore(pool, redis_client).open(sale_id, OPENING)
    assert await run_once(settings, "trim", sale_id) == f"{partition}: 3 events trimmed below 1-7"


async def test_a_waiting_room_that_is_not_to_be_read_keeps_nothing_in_the_outbox(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(5))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    await redis_client.set(room_keys(sale_id).meta, "no hash")
    async with running(run_order_writer, settings):
        await in_ledger(ledger, store, partition)
    assert await run_once(settings, "trim", sale_id) == f"{partition}: 1 events trimmed below 1-2"


async def test_a_sale_is_compared_periodically_and_when_asked(
    settings: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    sale_id: str,
    redis_client: redis.asyncio.Redis,
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(5))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    async with pipeline(settings):
        await reserve(store, partition, "buyer")

        async def balanced() -> bool:
            return bool(
                await ledger.fetchval(
                    "SELECT balanced FROM reconciliations "
                    "WHERE requested_by = 'reconciler' AND status = 'done'"
                )
            )

        await wait_until(balanced)
        await redis_client.hincrby(f"{{{partition}}}:stock", "sku:default:sold", 1)
        report = await reconciled(ledger, sale_id)
        assert report["balanced"] is False
        assert msgspec.json.decode(report["watermarks"]) == [
            {"partition": 0, "epoch": 1, "sequence": 3}
        ]
        rows = await ledger.fetch(
            "SELECT * FROM reconciliation_differences WHERE reconciliation_id = $1",
            report["reconciliation_id"],
        )
        assert [
            (r["kind"], r["sku"], r["field"], r["redis_value"], r["ledger_value"]) for r in rows
        ] == [("counter", "sku", "sold", "1", "0")]


async def test_every_duty_runs_by_hand(
    settings: Settings, ledger: asyncpg.Connection, store: ReservationStore, sale_id: str
) -> None:
    partition = await create_sale(ledger, sale_id, one_item(5, hold_seconds=1))
    await open_sale(ledger, store, sale_id, BOUNDS, actor="test")
    await reserve(store, partition, "buyer")

    async def due() -> bool:
        return (await store.snapshot(partition)).due_holds == 1

    await wait_until(due)
    assert await run_once(settings, "expire", sale_id) == f"{partition}: 1 holds returned"
    async with running(run_order_writer, settings):

        async def applied() -> bool:
            return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == 4)

        await wait_until(applied)
    assert await run_once(settings, "trim", sale_id) == f"{partition}: 3 events trimmed below 1-4"
    assert await run_once(settings, "recover", sale_id) == f"{partition}: trusted"
    assert (await run_once(settings, "reconcile", sale_id)).endswith("balanced at 0@1-4")
    with pytest.raises(ValueError, match="no duty"):
        await run_once(settings, "nothing", sale_id)
    with pytest.raises(ValueError, match="no sale"):
        await run_once(settings, "trim", "unheard-of")
