"""Settling a sale: the accounting that stays, and what becomes of Redis."""

import asyncio
import csv
import io

import asyncpg
import msgspec
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer

from config.settings import EventLogSettings, Settings
from gateway.admission.waiting_room.checkpoints import Checkpoints, RoomRecord
from gateway.inventory.errors import Recovering
from gateway.relay.service import run as run_relay
from tests.support.api import Api, Reply, serving, token_of
from tests.support.command import dropgate
from tests.support.sales.pipeline import pipeline, running
from tests.support.waiting import WAIT_SECONDS, wait_until

MONEY = {"amount": 1999, "currency": "EUR"}


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
    assert await redis_client.keys() == []


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
