"""Reserving in a sale with a waiting room, over HTTP."""

import asyncio

import asyncpg

from config.settings import Settings
from order_writer.service import run as run_order_writer
from tests.support.api import Api, Reply
from tests.support.sales.admissions import FAR_MS, passes_for
from tests.support.sales.pipeline import running
from tests.support.waiting import wait_until

ROOM = {"max_active_buyers": 5, "admission_seconds": 60}
SHIRT: dict[str, object] = {"lines": [{"sku": "shirt", "quantity": 1}]}


async def reserve(api: Api, sale: str, key: str, token: str | None, buyer: str = "ada") -> Reply:
    shown = {} if token is None else {"Admission_Token": token}
    path = f"/v1/sales/{sale}/reservations"
    return await api.buyer(buyer, "POST", path, SHIRT, Idempotency_Key=key, **shown)


async def test_nobody_reserves_without_an_own_unspent_admission(
    api: Api, settings: Settings
) -> None:
    sale, other = [await api.open_sale(waiting_room=ROOM) for _ in range(2)]
    passes = await passes_for(settings, sale)
    own = passes.admission("ada", 3, FAR_MS)
    strangers = (
        *(None, "", "nonsense", own[:-1], own + "A", own.swapcase()),
        passes.admission("bob", 3, FAR_MS),
        passes.ticket("ada", 3),
        (await passes_for(settings, other)).admission("ada", 3, FAR_MS),
    )
    for token in strangers:
        refused = await reserve(api, sale, "key", token)
        assert (refused.told, refused.body["reason"]) == ((403, "not_admitted"), "missing"), token
    ended = await reserve(api, sale, "key", passes.admission("ada", 3, 1))
    assert (ended.told, ended.body["reason"]) == ((403, "not_admitted"), "expired")
    assert (await reserve(api, sale, "key", own)).status == 201
    spent = await reserve(api, sale, "other", own)
    assert (spent.told, spent.body["reason"]) == ((403, "not_admitted"), "spent")


async def test_a_retry_passes_although_its_admission_is_gone(api: Api, settings: Settings) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    passes = await passes_for(settings, sale)
    token = passes.admission("ada", 3, FAR_MS)
    made = await reserve(api, sale, "key", token)
    for shown in (token, None, "nonsense", passes.admission("ada", 3, 1)):
        again = await reserve(api, sale, "key", shown)
        assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
        assert again.body["reservation_id"] == made.body["reservation_id"]


async def test_a_storefront_shows_its_buyers_admission(api: Api, settings: Settings) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    passes = await passes_for(settings, sale)
    path, body = f"/v1/sales/{sale}/reservations", SHIRT | {"buyer_id": "ada"}
    refused = await api.storefront("POST", path, body, Idempotency_Key="key")
    assert refused.told == (403, "not_admitted")
    for buyer, status in (("shop", 403), ("ada", 201)):
        token = passes.admission(buyer, 3, FAR_MS)
        reply = await api.storefront(
            "POST", path, body, Idempotency_Key="key", Admission_Token=token
        )
        assert reply.status == status


async def test_of_many_reserves_with_one_admission_one_is_accepted(
    api: Api, settings: Settings
) -> None:
    sale = await api.open_sale(waiting_room=ROOM, per_buyer_limit=10)
    token = (await passes_for(settings, sale)).admission("ada", 3, FAR_MS)
    replies = await asyncio.gather(*(reserve(api, sale, f"key-{n}", token) for n in range(20)))
    assert sorted(reply.status for reply in replies) == [201] + [403] * 19


async def test_the_ledger_keeps_what_was_spent(api: Api, settings: Settings) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    token = (await passes_for(settings, sale)).admission("ada", 3, FAR_MS)
    made = await reserve(api, sale, "key", token)
    ledger = await asyncpg.connect(settings.postgres.dsn)

    async def stored() -> int | None:
        number: int | None = await ledger.fetchval(
            "SELECT admission FROM reservations WHERE reservation_id = $1",
            made.body["reservation_id"],
        )
        return number

    try:
        async with running(run_order_writer, settings):
            assert await wait_until(stored) == 3
    finally:
        await ledger.close()
