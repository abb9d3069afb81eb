"""Calls that the ledger, the order writer and the reconciler answer, all of them running."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

import order_writer.service
import reconciler.service
from config.settings import Settings
from tests.support.api import Api, Reply
from tests.support.sales.reconciliations import reconciliation
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("processes")


@pytest_asyncio.fixture
async def processes(settings: Settings) -> AsyncIterator[None]:
    """The order writer and the reconciler, on this test's servers."""
    stop = asyncio.Event()
    running = [
        asyncio.create_task(service.run(settings, stop))
        for service in (order_writer.service, reconciler.service)
    ]
    yield
    stop.set()
    await asyncio.gather(*running)


async def order_with(api: Api, identifier: str, status: str) -> Reply:
    async def reached() -> Reply | None:
        reply = await api.ops("GET", f"/v1/orders/{identifier}")
        assert reply.status == 200, reply.raw
        found = reply.body["in_ledger"] and reply.body["status"] == status
        return reply if found else None

    return await wait_until(reached, f"the order is {status}")


async def settled(api: Api, sale: str) -> None:
    await api.ops("POST", f"/v1/sales/{sale}/close")

    async def done() -> bool:
        reply = await api.ops("POST", f"/v1/sales/{sale}/settle")
        if reply.status != 200:
            assert reply.told == (409, "invalid_state")
            assert reply.body["reason"] == "behind", reply.raw
        return reply.status == 200

    await wait_until(done, "the sale is settled")


async def test_an_order_has_its_events_from_the_ledger(api: Api) -> None:
    sale = await api.open_sale()
    identifier = await api.held(sale, "buyer-1", ("shirt", 3))
    pending = await order_with(api, identifier, "PENDING")
    assert [event["status"] for event in pending.body["events"]] == ["PENDING"]
    path = f"/v1/reservations/{identifier}"
    part = {"payment_reference": "p", "lines": [{"sku": "shirt", "quantity": 2}]}
    await api.storefront("POST", f"{path}/confirm", part)
    back = {"restock": True, "reason": "r", "lines": [{"sku": "shirt", "quantity": 1}]}
    await api.storefront("POST", f"{path}/returns", back, Idempotency_Key="r")

    async def returned() -> bool:
        reply = await api.ops("GET", f"/v1/orders/{identifier}")
        return bool(reply.body["lines"][0]["returned"] == 1)

    await wait_until(returned)
    order = (await api.buyer("buyer-1", "GET", f"/v1/orders/{identifier}")).body
    assert (order["status"], order["payment_reference"]) == ("CONFIRMED", "p")
    assert order["lines"] == [
        {
            "sku": "shirt",
            "location": "default",
            "quantity": 3,
            "confirmed": 2,
            "returned": 1,
            "unit_price": 1999,
        }
    ]
    assert order["total"] == {"amount": 2 * 1999, "currency": "EUR"}
    assert [event["status"] for event in order["events"]] == ["PENDING", "CONFIRMED", "RETURNED"]
    assert order["events"][0]["event_id"].startswith(f"{sale}:0:1-")
    stranger = await api.buyer("buyer-2", "GET", f"/v1/orders/{identifier}")
    assert stranger.told == (404, "not_found")


async def test_orders_of_a_buyer_come_in_pages(api: Api) -> None:
    sale = await api.open_sale(per_buyer_limit=100, items=[_plenty()])
    made = [await api.held(sale, "buyer-1") for _ in range(53)]
    await api.held(sale, "buyer-2")
    await order_with(api, made[-1], "PENDING")
    first = await api.buyer("buyer-1", "GET", "/v1/orders")
    assert len(first.body["orders"]) == 50
    cursor = first.body["next_cursor"]
    rest = await api.storefront("GET", f"/v1/orders?buyer_id=buyer-1&cursor={cursor}")
    assert (len(rest.body["orders"]), rest.body["next_cursor"]) == (3, None)
    ids = [order["order_id"] for page in (first, rest) for order in page.body["orders"]]
    assert sorted(ids) == sorted(made)
    for query in ("buyer_id=buyer-2", "cursor=garbage", "cursor=W10", "more=1", "buyer_id=%00"):
        told = (await api.buyer("buyer-1", "GET", f"/v1/orders?{query}")).told
        assert told == (422, "invalid"), query
    assert (await api.ops("GET", "/v1/orders")).told == (422, "invalid")


def _plenty() -> dict[str, object]:
    return {"sku": "shirt", "price": {"amount": 1, "currency": "EUR"}, "stock": 100}


async def test_a_settled_sale_is_answered_from_the_ledger(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    bought = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 2), ("cap", 1))
    given_up = await api.held(sale, "buyer-2")
    kept = await api.held(sale, "buyer-3")
    paid = f"/v1/reservations/{bought.body['reservation_id']}"
    await api.storefront("POST", f"{paid}/confirm", {"payment_reference": "p"})
    back = {"restock": False, "reason": "r", "lines": [{"sku": "shirt", "quantity": 1}]}
    returned = await api.storefront("POST", f"{paid}/returns", back, Idempotency_Key="r")
    await api.buyer("buyer-2", "POST", f"/v1/reservations/{given_up}/cancel")
    before = await api.ops("GET", f"/v1/sales/{sale}/snapshot")

    early = await api.ops("POST", f"/v1/sales/{sale}/settle")
    assert early.told == (409, "invalid_state")
    await api.ops("POST", f"/v1/sales/{sale}/close")
    held = await api.ops("POST", f"/v1/sales/{sale}/settle")
    assert (held.told, held.body["reason"]) == ((409, "invalid_state"), "held")
    await api.buyer("buyer-3", "POST", f"/v1/reservations/{kept}/cancel")
    await settled(api, sale)

    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    assert await client.keys(f"{{{sale}:0}}:*") == []
    await client.aclose()
    again = await api.ops("POST", f"/v1/sales/{sale}/settle")
    assert (again.status, again.body["state"]) == (200, "settled")
    after = await api.ops("GET", f"/v1/sales/{sale}/snapshot")
    assert after.body["partitions"][0]["state"] == "settled"
    shirt, cap = after.body["items"]
    assert (shirt["available"], shirt["sold"], shirt["held"]) == (8, 1, 0)
    assert (cap["available"], cap["sold"]) == (4, 1)
    assert before.body["items"][0]["adjusted"] == shirt["adjusted"] == -1

    # Reads and retries find old reservations; new reservations are refused.
    shown = await api.buyer("buyer-1", "GET", paid)
    assert shown.body == returned.body
    retried = await api.reserve(sale, "buyer-1", "key-1", ("cap", 1), ("shirt", 2))
    assert (retried.status, retried.headers["Idempotent-Replayed"]) == (201, "true")
    assert retried.body == returned.body
    reused = await api.reserve(sale, "buyer-1", "key-1", ("cap", 1))
    assert reused.told == (422, "idempotency_key_reused")
    assert (await api.reserve(sale, "buyer-1", "new")).told == (409, "sale_not_open")
    same = await api.storefront("POST", f"{paid}/confirm", {"payment_reference": "p"})
    assert (same.status, same.body) == (200, returned.body)
    other = await api.storefront("POST", f"{paid}/confirm", {"payment_reference": "q"})
    assert other.told == (409, "already_resolved")
    twice = await api.buyer("buyer-2", "POST", f"/v1/reservations/{given_up}/cancel")
    assert (twice.status, twice.body["state"]) == (200, "cancelled")
    repeated = await api.storefront("POST", f"{paid}/returns", back, Idempotency_Key="r")
    assert (repeated.status, repeated.body) == (201, returned.body)
    changed = await api.storefront(
        "POST", f"{paid}/returns", back | {"restock": True}, Idempotency_Key="r"
    )
    assert changed.told == (422, "idempotency_key_reused")
    late = await api.storefront("POST", f"{paid}/returns", back, Idempotency_Key="r2")
    assert late.told == (409, "invalid_state")
    thief = await api.buyer("thief", "GET", paid)
    assert thief.told == (404, "not_found")
    page = await api.call("GET", f"/v1/sales/{sale}")
    assert page.body["state"] == "settled"
    assert {item["availability"] for item in page.body["items"]} == {"none"}


async def test_a_reconciliation_is_made_and_kept(api: Api) -> None:
    sale = await api.open_sale()
    await api.held(sale, "buyer-1", ("shirt", 2))
    done = await reconciliation(api, sale, {"apply": False})
    assert done.status == 201, done.raw
    assert (done.body["balanced"], done.body["differences"]) == (True, [])
    assert done.body["watermarks"][0]["partition"] == 0
    listed = await api.ops("GET", f"/v1/sales/{sale}/reconciliations")
    assert done.body in listed.body["reconciliations"]


async def test_drift_is_named_and_shown(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    await client.hincrby(f"{{{sale}:0}}:stock", "shirt:default:available", -1)
    await client.aclose()
    done = await reconciliation(api, sale)
    assert (done.status, done.body["balanced"]) == (201, False), done.raw
    assert done.body["differences"][0]["sku"] == "shirt"

    async def shown() -> bool:
        text = (await api.call("GET", "/metrics")).raw.decode()
        drift = [line for line in text.splitlines() if line.startswith("dropgate_drift{")]
        return any(f'sale="{sale}"' in line and not line.endswith(" 0.0") for line in drift)

    await wait_until(shown, "the drift is in the metrics")


async def test_drift_is_repaired_when_asked(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    await client.hincrby(f"{{{sale}:0}}:stock", "shirt:default:available", -1)
    await client.aclose()
    done = await reconciliation(api, sale, {"apply": True})
    assert (done.status, done.body["apply"], done.body["balanced"]) == (201, True, False), done.raw
    assert [each["repaired"] for each in done.body["differences"]] == [True]
    again = await reconciliation(api, sale)
    assert (again.body["balanced"], again.body["differences"]) == (True, [])


async def test_dead_letters_are_listed_and_replayed(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    connection = await asyncpg.connect(settings.postgres.dsn)
    identifier = await connection.fetchval(
        "INSERT INTO dead_letters (identity, sale_id, partition, reason, error, raw)"
        " VALUES ('test', $1, 0, 'unnumbered', 'foreign', $2) RETURNING dead_letter_id",
        sale,
        b"garbage",
    )
    await connection.close()
    listed = await api.ops("GET", "/v1/dead-letters")
    assert [letter["dead_letter_id"] for letter in listed.body["dead_letters"]] == [identifier]
    assert listed.body["dead_letters"][0]["raw"] == "Z2FyYmFnZQ=="
    refused = await api.ops("POST", f"/v1/dead-letters/{identifier}/replay")
    assert refused.told == (409, "invalid_state")
    for unknown in ("999999", "x", "0x1", "9" * 30):
        reply = await api.ops("POST", f"/v1/dead-letters/{unknown}/replay")
        assert reply.told == (404, "not_found")
    assert (await api.ops("GET", "/v1/dead-letters?cursor=x")).told == (422, "invalid")
