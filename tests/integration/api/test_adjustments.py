"""Stock adjustments with an Idempotency-Key: one effect each, whatever is lost or sent again."""

import asyncio
from urllib.parse import urlsplit

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.store import AdjustKey
from gateway.process.postgres import create_pool
from reconciler.rebuilding.rebuild import Rebuild, rebuild
from tests.support.api import Api, Reply, serving
from tests.support.network.proxy import FaultyProxy
from tests.support.sales.judged_sale import SHIRT, JudgedSale
from tests.support.sales.partitions import BOUNDS, open_store, token_of
from tests.support.servers import patient_redis
from tests.support.waiting import wait_until

BODY = {"sku": "shirt", "delta": 100, "reason": "delivery"}


async def test_an_adjustment_with_a_key_is_made_once(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/stock-adjustments"
    first = await api.ops("POST", path, BODY, Idempotency_Key="delivery-7")
    again = await api.ops("POST", path, BODY, Idempotency_Key='"delivery-7"')
    assert (first.status, again.status) == (201, 201)
    assert (first.body, again.body["available"]) == (again.body, 110)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    for change in ({"delta": 99}, {"reason": "other"}, {"sku": "cap", "location": "south"}):
        reused = await api.ops("POST", path, BODY | change, Idempotency_Key="delivery-7")
        assert reused.told == (422, "idempotency_key_reused"), change
    assert (await api.ops("POST", path, BODY, Idempotency_Key="delivery-8")).status == 201
    assert (await api.ops("POST", path, BODY)).body["available"] == 310
    malformed = await api.ops("POST", path, BODY, Idempotency_Key="two words")
    assert malformed.told == (400, "malformed")
    await api.ops("POST", f"/v1/sales/{sale}/close")
    late = await api.ops("POST", path, BODY, Idempotency_Key="delivery-7")
    assert (late.status, late.body["sequence"]) == (201, first.body["sequence"])
    new = await api.ops("POST", path, BODY, Idempotency_Key="delivery-9")
    assert new.told == (409, "invalid_state")


async def _with_a_lost_reply(settings: Settings, **headers: str) -> tuple[Reply, Reply]:
    """An adjustment whose reply from Redis is lost, and the call repeated as it was."""
    async with (
        FaultyProxy(urlsplit(settings.redis.url).port or 0) as proxy,
        open_store(settings.redis) as (_, direct),
    ):
        redis = patient_redis(f"redis://127.0.0.1:{proxy.port}/0")
        async with serving(settings.model_copy(update={"redis": redis})) as api:
            sale = await api.open_sale()
            path = f"/v1/sales/{sale}/stock-adjustments"
            proxy.hold_replies()
            lost = asyncio.ensure_future(api.ops("POST", path, BODY, **headers))

            async def adjusted() -> bool:
                return (await direct.snapshot(PartitionId(sale, 0))).accounts[0].adjusted == 100

            await wait_until(adjusted, "Redis has made the adjustment")
            proxy.cut()
            proxy.pass_replies()
            told = await lost

            async def answered() -> bool:
                return (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).status == 200

            await wait_until(answered, "the gateway has connected again")
            return told, await api.ops("POST", path, BODY, **headers)


async def test_a_lost_reply_is_found_with_the_key(settings: Settings) -> None:
    told, again = await _with_a_lost_reply(settings, Idempotency_Key="delivery-7")
    if told.status != 201:  # the gateway itself may not have got through to Redis again
        assert told.told == (503, "recovering")
        assert "same Idempotency-Key" in told.body["detail"]
    assert (again.status, again.body["available"]) == (201, 110)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_without_a_key_a_lost_reply_says_what_to_do(settings: Settings) -> None:
    told, again = await _with_a_lost_reply(settings)
    assert told.told == (503, "recovering")
    assert "Look at the snapshot before you repeat it" in told.body["detail"]
    assert (again.status, again.body["available"]) == (201, 210)


async def test_a_key_outlives_redis(judged_sale: JudgedSale, settings: Settings) -> None:
    """The rebuild brings the keys back from the ledger; without them the repeat adjusts again."""
    sale, once = judged_sale, AdjustKey(token_of("delivery"), "f1")
    made = await sale.store.adjust(sale.partition, SHIRT, 7, "r", "ops", once=once)
    assert made.outcome == "adjusted"
    other = AdjustKey(token_of("later"), "f2")
    await sale.store.adjust(sale.partition, SHIRT, 1, "r", "ops", once=other)
    await sale.apply()
    before = await sale.redis.hget(sale.key("meta"), "adjustments")
    assert before
    await sale.redis.flushall()
    plan = Rebuild(sale.partition, await read_run_id(sale.redis), 2, Position(1, 99), 0)
    pool = await create_pool(settings.postgres, size=1)
    try:
        await rebuild(pool, sale.store, BOUNDS, plan)
    finally:
        await pool.close()
    assert await sale.redis.hget(sale.key("meta"), "adjustments") == before
    again = await sale.store.adjust(sale.partition, SHIRT, 7, "r", "ops", once=once)
    assert (again.outcome, again.sequence) == ("replayed", made.sequence)
    reused = AdjustKey(once.key, "f3")
    told = await sale.store.adjust(sale.partition, SHIRT, 8, "r", "ops", once=reused)
    assert told.outcome == "key_reused"
