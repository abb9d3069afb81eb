"""What /metrics says of partitions: the figures the alerts are made of, on real servers."""

import re

import asyncpg
import msgspec
import pytest
import redis.asyncio

from config.settings import Settings
from reconciler.context import QUERIES
from tests.support.api import Api
from tests.support.waiting import wait_until


async def gauge_is(api: Api, name: str, sale: str, value: float) -> None:
    """Wait until the sale's gauge has this value."""
    await is_shown(api, f'{name}{{partition="0",sale="{sale}"}} {float(value)}\n')


async def is_shown(api: Api, sample: str) -> None:
    """Wait until the metrics have this sample; a reading is cached for a second."""

    async def shown() -> bool:
        return sample in (await api.call("GET", "/metrics")).raw.decode()

    await wait_until(shown, sample)


@pytest.mark.parametrize("floor", [-2, 1])
async def test_the_margin_is_counted_from_the_configured_floor(
    api: Api, redis_client: redis.asyncio.Redis, floor: int
) -> None:
    price = {"amount": 1, "currency": "EUR"}
    item = {"sku": "shirt", "price": price, "locations": {"a": 2, "b": 1}, "floor": floor}
    other = {"sku": "cap", "price": price, "stock": 1000}
    sale = await api.open_sale(items=[item, other], per_buyer_limit=9, split_lines=True)
    await gauge_is(api, "dropgate_floor_margin", sale, 3 - floor)
    await api.held(sale, "buyer", ("shirt", 3 - floor))
    assert (await api.reserve(sale, "buyer", "more", ("shirt", 1))).told == (409, "sold_out")
    await gauge_is(api, "dropgate_floor_margin", sale, 0)
    text = (await api.call("GET", "/metrics")).raw.decode()
    for counter, units in (("available", floor), ("held", 3 - floor), ("sold", 0)):
        labels = f'counter="{counter}",partition="0",sale="{sale}",sku="shirt"'
        assert f"dropgate_units{{{labels}}} {float(units)}\n" in text
    # Something that writes past the scripts takes one unit too many.
    await redis_client.hincrby(f"{{{sale}:0}}:stock", "shirt:a:available", -1)
    await gauge_is(api, "dropgate_floor_margin", sale, -1)


async def test_a_partition_that_answers_nobody_is_shown(
    api: Api, redis_client: redis.asyncio.Redis
) -> None:
    sale = await api.open_sale()
    await gauge_is(api, "dropgate_partition_recovering", sale, 0)
    # The partition's data names another server run, as after a restart.
    await redis_client.hset(f"{{{sale}:0}}:meta", "run_id", "0" * 40)
    await gauge_is(api, "dropgate_partition_recovering", sale, 1)
    await redis_client.delete(f"{{{sale}:0}}:meta")
    await gauge_is(api, "dropgate_partition_recovering", sale, 1)


async def test_how_full_the_outbox_is_and_what_the_ledger_cannot_apply(
    api: Api, settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    sale = await api.open_sale()
    await redis_client.hset(f"{{{sale}:0}}:meta", "outbox_bound", "4")
    await gauge_is(api, "dropgate_outbox_fill_ratio", sale, 0.5)
    await api.held(sale, "buyer-1")
    await api.held(sale, "buyer-2")
    await gauge_is(api, "dropgate_outbox_fill_ratio", sale, 1)
    assert (await api.reserve(sale, "buyer-3", "key")).told == (503, "ledger_behind")

    await gauge_is(api, "dropgate_ledger_stopped", sale, 0)
    connection = await asyncpg.connect(settings.postgres.dsn)
    await connection.execute("UPDATE watermarks SET stopped_reason = 'gap'")
    await connection.execute(
        "INSERT INTO dead_letters (identity, reason, error, raw) VALUES ('a', 'refused', 'x', '')"
    )
    await connection.close()
    await gauge_is(api, "dropgate_ledger_stopped", sale, 1)
    text = (await api.call("GET", "/metrics")).raw.decode()
    assert 'dropgate_dead_letters_open{reason="refused"} 1.0' in text
    assert 'dropgate_dead_letters_open{reason="fenced"} 0.0' in text


async def test_what_a_ledger_that_came_back_older_lacks_is_shown(
    api: Api, redis_client: redis.asyncio.Redis
) -> None:
    """The ledger has none of the sale's two events, of which one epoch more is known."""
    sale = await api.open_sale()
    await gauge_is(api, "dropgate_ledger_older_events", sale, 0)
    meta = f"{{{sale}:0}}:meta"
    await redis_client.hset(meta, "ledger_sequence", "2")
    await gauge_is(api, "dropgate_ledger_older_events", sale, 2)
    closed = msgspec.msgpack.encode([(1, 80, "", 2)])
    await redis_client.hset(meta, mapping={"epoch": "2", "closed_epochs": closed})
    await gauge_is(api, "dropgate_ledger_older_events", sale, 82)


async def test_whether_a_reconciler_leads(api: Api, settings: Settings) -> None:
    await is_shown(api, "dropgate_reconciler_leads 0.0\n")
    ledger = await asyncpg.connect(settings.postgres.dsn)
    try:
        held = await ledger.fetchval(QUERIES["take_lead"], "somebody", 60)
        assert held == "somebody"
        await is_shown(api, "dropgate_reconciler_leads 1.0\n")
        await ledger.execute(QUERIES["give_up_lead"], "somebody")
        await is_shown(api, "dropgate_reconciler_leads 0.0\n")
    finally:
        await ledger.close()


async def test_a_clock_that_was_set_back_is_shown(
    api: Api, redis_client: redis.asyncio.Redis
) -> None:
    sale = await api.open_sale()
    await gauge_is(api, "dropgate_clock_ahead_seconds", sale, 0)
    # As if the server's clock had been an hour ahead, and was set right.
    last = int(await redis_client.hget(f"{{{sale}:0}}:meta", "last_time") or 0)
    await redis_client.hset(f"{{{sale}:0}}:meta", "last_time", str(last + 3_600_000))

    async def shown() -> bool:
        text = (await api.call("GET", "/metrics")).raw.decode()
        found = re.search(rf'dropgate_clock_ahead_seconds{{.*sale="{sale}"}} ([0-9.]+)', text)
        return found is not None and float(found[1]) > 3000

    await wait_until(shown, "the clock is ahead by an hour")
