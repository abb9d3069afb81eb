"""Settling a sale: the accounting that stays, and what becomes of Redis."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import msgspec
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer

from config.settings import EventLogSettings, Settings
from gateway.admission.waiting_room.checkpoints import Checkpoints, RoomRecord
from gateway.inventory.errors import Recovering
from gateway.inventory.keys import LEDGER_LEASE_KEYS
from gateway.relay.service import run as run_relay
from order_writer.service import run as run_order_writer
from reconciler.service import run as run_reconciler
from tests.support.api import Api, Reply, serving, token_of
from tests.support.command import dropgate, process_of
from tests.support.sales.pipeline import pipeline, running
from tests.support.waiting import WAIT_SECONDS, wait_until


async def settled(api: Api, sale: str) -> Reply:
    """Close, and settle as soon as the ledger has everything."""
    await api.ops("POST", f"/v1/sales/{sale}/close")

    async def done() -> Reply | None:
        reply = await api.ops("POST", f"/v1/sales/{sale}/settle")
        if reply.status == 200:
            return reply
        assert (reply.told, reply.body["reason"]) == ((409, "invalid_state"), "behind"), reply.raw
        return None

    return await wait_until(done, "the sale is settled")


async def trade(api: Api, sale: str) -> None:
    """Of 10 shirts: 3 more put in, 1 taken out, 6 bought, 3 of them returned; one hold given up."""
    for delta, reason in ((2, "found"), (-1, 'lost, in the "attic"'), (1, "found")):
        body = {"sku": "shirt", "delta": delta, "reason": reason}
        assert (await api.ops("POST", f"/v1/sales/{sale}/stock-adjustments", body)).status == 201
    identifier = ""
    for buyer, quantity in (("buyer-1", 4), ("buyer-2", 3)):
        identifier = await api.held(sale, buyer, ("shirt", quantity))
        bought = {"payment_reference": buyer, "lines": [{"sku": "shirt", "quantity": 3}]}
        paid = await api.storefront("POST", f"/v1/reservations/{identifier}/confirm", bought)
        assert paid.status == 200
    for key, units, restock, reason in (
        ("1", 1, True, "too small"), ("2", 1, True, "too late"), ("3", 1, False, "too late"),
    ):  # fmt: skip
        back = {
            "restock": restock,
            "reason": reason,
            "lines": [{"sku": "shirt", "quantity": units}],
        }
        path = f"/v1/reservations/{identifier}/returns"
        assert (await api.storefront("POST", path, back, Idempotency_Key=key)).status == 201
    given_up = await api.held(sale, "buyer-3", ("cap", 2))
    await api.buyer("buyer-3", "POST", f"/v1/reservations/{given_up}/cancel")


async def test_the_accounting_says_what_became_of_every_unit(api: Api, settings: Settings) -> None:
    async with pipeline(settings):
        sale = await api.open_sale()
        early = await api.ops("GET", f"/v1/sales/{sale}/accounting")
        assert early.told == (409, "invalid_state")
        assert (await api.ops("GET", "/v1/sales/none/accounting")).told == (404, "not_found")
        await trade(api, sale)
        await settled(api, sale)
    told = await api.ops("GET", f"/v1/sales/{sale}/accounting")
    assert (told.status, told.headers["Content-Type"]) == (200, "application/json")
    shirt, north, south = told.body["lines"]
    assert shirt == {
        "sku": "shirt",
        "location": "default",
        "loaded": 10,
        "adjusted": 2,
        "adjustments": [
            {"reason": "found", "units": 3},
            {"reason": 'lost, in the "attic"', "units": -1},
        ],
        "transferred": 0,
        "confirmed": 6,
        "restocked": 2,
        "written_off": 1,
        "returns": [
            {"reason": "too late", "restocked": 1, "written_off": 1},
            {"reason": "too small", "restocked": 1, "written_off": 0},
        ],
        "sold": 3,
        "unsold": 8,
        "revenue": 3 * 1999,
        "refunded": 3 * 1999,
    }
    assert (told.body["revenue"]["amount"], told.body["settled_by"]) == (3 * 1999, "operator")
    caps = [(cap["sku"], cap["location"], cap["unsold"], cap["sold"]) for cap in (north, south)]
    assert caps == [("cap", "north", 3, 0), ("cap", "south", 2, 0)]

    as_csv = await api.ops("GET", f"/v1/sales/{sale}/accounting", Accept="text/csv")
    assert as_csv.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(as_csv.raw.decode(), newline="")))
    assert [row["location"] for row in rows] == ["default", "north", "south"]
    assert msgspec.json.decode(rows[0]["adjustments"]) == shirt["adjustments"]
    assert (rows[0]["unsold"], rows[0]["currency"]) == ("8", "EUR")

    connection = await asyncpg.connect(settings.postgres.dsn)
    detail = await connection.fetchval(
        "SELECT detail FROM audit_log WHERE sale_id = $1 AND action = 'sale_settled'", sale
    )
    assert msgspec.json.decode(detail)["accounting"] == told.body
    with pytest.raises(asyncpg.CheckViolationError):  # it is final
        await connection.execute("UPDATE settlement_lines SET unsold = 0, loaded = loaded - unsold")
    await connection.close()

    at = ("--url", api.url, "--token", token_of("ops", "operator"))
    shown = await dropgate("sale", "accounting", sale, *at)
    assert msgspec.json.decode(shown.output) == told.body, shown.errors
    exported = await dropgate("sale", "accounting", sale, "--csv", *at)
    assert exported.output.splitlines() == as_csv.raw.decode().splitlines()


async def test_nothing_of_a_settled_sale_stays_in_redis(
    api: Api, settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    async with pipeline(settings):
        sale = await api.open_sale()
        # As the relay, and durability replica, leave them beside the partition's own keys.
        await redis_client.hset(f"{{{sale}:0}}:relay", "position", "1-2")
        await redis_client.set(f"{{{sale}:0}}:synced", "")
        await settled(api, sale)
    assert set(await redis_client.keys()) == set(LEDGER_LEASE_KEYS), "those of no sale"


async def test_the_waiting_room_of_a_settled_sale_goes_too(
    api: Api, settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    room = {"max_active_buyers": 1, "admission_seconds": 60}
    sale = await api.open_sale(waiting_room=room)
    joined = await api.buyer("buyer-1", "POST", f"/v1/sales/{sale}/queue")
    assert joined.status == 200, joined.raw
    async with pipeline(settings):
        await settled(api, sale)

    async def refused() -> bool:
        answer = await api.buyer("buyer-1", "POST", f"/v1/sales/{sale}/queue")
        return answer.told == (409, "invalid_state")

    await wait_until(refused, "the room is known to be gone")
    assert not await redis_client.keys(f"{{{sale}*")

    # A worker that has not heard of the settlement does not make the room again either.
    async def opens(record: RoomRecord, revoked: list[str]) -> None:
        raise AssertionError(record, revoked)

    async with asyncpg.create_pool(settings.postgres.dsn, min_size=1) as pool:
        with pytest.raises(Recovering, match="settled"):
            await Checkpoints(pool, WAIT_SECONDS).opening(sale, opens)


async def test_a_ledger_that_does_not_add_up_is_not_settled(api: Api, settings: Settings) -> None:
    async with pipeline(settings):
        sale = await api.open_sale()
        await api.ops("POST", f"/v1/sales/{sale}/close")
        connection = await asyncpg.connect(settings.postgres.dsn)
        # A sale that no order explains.
        await connection.execute("UPDATE stock_accounts SET sold = 1, available = available - 1")

        async def refused() -> bool:
            reply = await api.ops("POST", f"/v1/sales/{sale}/settle")
            assert reply.told == (409, "invalid_state")
            return bool(reply.body["reason"] == "accounting")

        await wait_until(refused)
        assert await connection.fetchval("SELECT state FROM sales") == "closed"
        assert await connection.fetchval("SELECT count(*) FROM settlements") == 0
        await connection.close()


async def test_a_partition_that_moved_takes_the_settlement_back(
    api: Api, settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    sale = await api.open_sale()
    connection = await asyncpg.connect(settings.postgres.dsn)
    # As if events had come between the accounting and the removal of the keys.
    await connection.execute("UPDATE sales SET state = 'settled'")
    await connection.execute(
        "INSERT INTO settlements (sale_id, currency, settled_by) VALUES ($1, 'EUR', 'x')", sale
    )
    reply = await api.ops("POST", f"/v1/sales/{sale}/settle")
    assert (reply.told, reply.body["reason"]) == ((409, "invalid_state"), "behind")
    assert await connection.fetchval("SELECT state FROM sales") == "closed"
    assert await connection.fetchval("SELECT count(*) FROM settlements") == 0
    await connection.close()
    assert await redis_client.exists(f"{{{sale}:0}}:meta")


async def test_a_repeated_extension_is_answered_after_the_settlement(
    api: Api, settings: Settings
) -> None:
    async with pipeline(settings):
        sale = await api.open_sale()
        path = f"/v1/reservations/{await api.held(sale, 'ann')}"
        extend, body = f"{path}/extend", {"seconds": 60}
        await api.buyer("ann", "POST", extend, body, Idempotency_Key="more")
        await api.storefront("POST", f"{path}/confirm", {"payment_reference": "p"})
        await settled(api, sale)
    again = await api.buyer("ann", "POST", extend, body, Idempotency_Key="more")
    assert (again.status, again.body["state"]) == (200, "confirmed")
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await api.buyer("ann", "POST", extend, {"seconds": 9}, Idempotency_Key="more")
    assert other.told == (422, "idempotency_key_reused")
    new = await api.buyer("ann", "POST", extend, body, Idempotency_Key="new")
    assert new.told == (409, "already_resolved")


async def test_a_settled_sale_is_announced_on_kafka(
    settings: Settings, kafka_event_log: EventLogSettings
) -> None:
    on_kafka = settings.model_copy(update={"event_log": kafka_event_log})
    consumer = AIOKafkaConsumer(
        kafka_event_log.settlement_topic,
        bootstrap_servers=kafka_event_log.bootstrap,
        auto_offset_reset="earliest",
    )
    async with pipeline(on_kafka), running(run_relay, on_kafka), serving(on_kafka) as api:
        sale = await api.open_sale()
        await trade(api, sale)
        await settled(api, sale)
        accounting = await api.ops("GET", f"/v1/sales/{sale}/accounting")
        await consumer.start()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                record = await consumer.getone()
        finally:
            await consumer.stop()
        ledger = await asyncpg.connect(settings.postgres.dsn)
        try:
            noted = "SELECT sale_id FROM settlement_announcements"
            await wait_until(lambda: _is(ledger, noted, sale), "the announcement is noted")
        finally:
            await ledger.close()
    assert record.key == sale.encode()
    assert msgspec.json.decode(record.value) == {
        "v": 1,
        "type": "settle",
        "sale_id": sale,
        "accounting": accounting.body,
    }


async def _is(ledger: asyncpg.Connection, query: str, value: str) -> bool:
    return bool(await ledger.fetchval(query) == value)


@asynccontextmanager
async def without_unlink(client: "redis.asyncio.Redis") -> AsyncIterator[None]:
    """A Redis that removes nothing: what follows the settlement's commit stops there."""
    await client.acl_setuser("default", enabled=True, nopass=True, commands=["-unlink"])
    try:
        yield
    finally:
        await client.acl_setuser("default", enabled=True, nopass=True, commands=["+unlink"])


async def settled_with_its_keys(api: Api, client: "redis.asyncio.Redis") -> str:
    """A sale that is settled in the ledger and still has its keys."""
    sale = await api.open_sale()
    await api.ops("POST", f"/v1/sales/{sale}/close")

    async def committed() -> bool:
        reply = await api.ops("POST", f"/v1/sales/{sale}/settle")
        assert reply.status != 200, reply.raw
        return reply.told == (503, "recovering")

    async with without_unlink(client):
        await wait_until(committed, "the settlement is committed, and the keys stay")
    return sale


async def test_the_keys_that_a_killed_gateway_left_are_removed_by_the_reconciler(
    settings: Settings, redis_client: "redis.asyncio.Redis"
) -> None:
    url = f"http://{settings.gateway.host}:{settings.gateway.port}"
    async with aiohttp.ClientSession() as session, running(run_order_writer, settings):
        with process_of("gateway", settings) as gateway:

            async def ready() -> bool:
                try:
                    async with session.get(f"{url}/readyz") as reply:
                        return reply.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await wait_until(ready)
            sale = await settled_with_its_keys(Api(session, url), redis_client)
            gateway.kill()
        assert await redis_client.keys(f"{{{sale}*")

        async def removed() -> bool:
            return not await redis_client.keys(f"{{{sale}*")

        async with running(run_reconciler, settings):
            await wait_until(removed)
    async with serving(settings) as api:
        assert (await api.ops("POST", f"/v1/sales/{sale}/settle")).status == 200


async def test_the_reconciler_takes_back_a_settlement_whose_sale_has_moved(
    api: Api, settings: Settings, redis_client: "redis.asyncio.Redis"
) -> None:
    async with running(run_order_writer, settings):
        sale = await settled_with_its_keys(api, redis_client)
    await redis_client.hincrby(f"{{{sale}:0}}:meta", "sequence", 1)
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        async with running(run_reconciler, settings):
            state = "SELECT state FROM sales"
            await wait_until(lambda: _is(connection, state, "closed"), "it is closed again")
        assert await connection.fetchval("SELECT count(*) FROM settlements") == 0
        last = "SELECT actor, action FROM audit_log ORDER BY audit_id DESC LIMIT 1"
        rows = [tuple(row) for row in await connection.fetch(last)]
        assert rows == [("reconciler", "sale_unsettled")]
    finally:
        await connection.close()
    assert await redis_client.exists(f"{{{sale}:0}}:meta")


async def test_a_settlement_that_is_not_final_holds_up_no_other(
    settings: Settings, kafka_event_log: EventLogSettings, redis_client: "redis.asyncio.Redis"
) -> None:
    on_kafka = settings.model_copy(update={"event_log": kafka_event_log})
    announced = (
        "SELECT string_agg(sale_id, ' ' ORDER BY announced_at) FROM settlement_announcements"
    )
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        async with (
            running(run_order_writer, on_kafka),
            running(run_relay, on_kafka),
            serving(on_kafka) as api,
        ):
            waits = await settled_with_its_keys(api, redis_client)
            final = await api.open_sale()
            await settled(api, final)
            await wait_until(lambda: _is(ledger, announced, final), "the final one is announced")
            async with running(run_reconciler, on_kafka):
                both = f"{final} {waits}"
                await wait_until(lambda: _is(ledger, announced, both), "the other one is, too")
    finally:
        await ledger.close()
