"""Two workers, lost connections, bounds: what callers must not notice, and their answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from config.stack.server import free_port
from gateway.inventory.keys import PartitionId, outbox_key
from tests.support.api import Api, sale_body, serving, token_of
from tests.support.waiting import WAIT_SECONDS, wait_until


def with_gateway(settings: Settings, **changes: object) -> Settings:
    gateway = settings.gateway.model_copy(update=changes)
    return settings.model_copy(update={"gateway": gateway})


@pytest_asyncio.fixture
async def workers(settings: Settings) -> AsyncIterator[tuple[Api, Api]]:
    """Two gateway workers on the same servers, each on a port of its own."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(settings))
        other = with_gateway(settings, port=free_port(), worker_slot=1)
        yield first, await stack.enter_async_context(serving(other))


async def test_what_one_worker_did_the_other_knows_at_once(workers: tuple[Api, Api]) -> None:
    here, there = workers
    sale = "two-workers"
    assert (await there.reserve(sale, "b", "k")).told == (404, "not_found")
    assert (await here.ops("PUT", f"/v1/sales/{sale}", sale_body())).status == 201

    async def known() -> bool:
        return (await there.reserve(sale, "b", "k")).status != 404

    await wait_until(known, "the other worker knows the sale")
    assert (await there.reserve(sale, "b", "k")).told == (409, "sale_not_open")
    # Another spec, then open: no worker may sell by the numbers of the old one.
    swapped = sale_body()
    items = swapped["items"]
    assert isinstance(items, list)
    items.reverse()
    assert (await here.ops("PUT", f"/v1/sales/{sale}", swapped)).status == 200
    assert (await here.ops("POST", f"/v1/sales/{sale}/open")).status == 200
    made = await there.reserve(sale, "b", "k", ("shirt", 2))
    assert made.status == 201, made.raw
    assert [line["sku"] for line in made.body["lines"]] == ["shirt"]
    again = await here.reserve(sale, "b", "k", ("shirt", 2))
    assert (again.body, again.headers["Idempotent-Replayed"]) == (made.body, "true")
    text = (await there.call("GET", "/metrics")).raw.decode()
    assert 'dropgate_reservations_total{outcome="accepted"} 1.0' in text
    assert 'dropgate_reservations_total{outcome="replayed"} 1.0' in text


async def test_two_workers_never_sell_more_than_there_is(workers: tuple[Api, Api]) -> None:
    sale = await workers[0].open_sale(per_buyer_limit=1)
    replies = await asyncio.gather(
        *(workers[n % 2].reserve(sale, f"buyer-{n}", "k") for n in range(100))
    )
    told = [reply.status for reply in replies]
    assert (told.count(201), told.count(409)) == (10, 90)
    assert {reply.code for reply in replies if reply.status == 409} == {"sold_out"}


async def test_a_lost_reply_is_found_by_asking_again(api: Api, settings: Settings) -> None:
    sale = await api.open_sale(
        per_buyer_limit=1,
        items=[{"sku": "shirt", "price": {"amount": 1, "currency": "EUR"}, "stock": 500}],
    )
    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    calls = [asyncio.create_task(api.reserve(sale, f"buyer-{n}", "k")) for n in range(300)]
    kills = 0
    while not all(call.done() for call in calls):
        # Every connection of the gateway, whatever is under way on it.
        kills += await client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.wait(calls, timeout=0.02)
    replies = [await call for call in calls]
    await client.aclose()
    assert kills > 0
    told = {reply.status for reply in replies}
    assert told <= {201, 503}
    assert {reply.code for reply in replies if reply.status == 503} <= {"recovering"}
    for number, reply in enumerate(replies):
        if reply.status == 201:
            assert reply.body["buyer_id"] == f"buyer-{number}"  # every caller has their own reply
    # A caller answered 503 finds the outcome under the same key, and no unit is stranded.
    finally_made = [await settled_reply(api, sale, f"buyer-{n}") for n in range(300)]
    assert len(set(finally_made)) == 300
    item = (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).body["items"][0]
    assert (item["held"], item["available"]) == (300, 200)


async def settled_reply(api: Api, sale: str, buyer: str) -> str:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            reply = await api.reserve(sale, buyer, "k")
            if reply.status == 201:
                return str(reply.body["reservation_id"])
            assert reply.told == (503, "recovering")


async def test_cut_connections_strand_no_unit(api: Api, settings: Settings) -> None:
    """A caller who hangs up has a reservation, found again by its key, or no reservation."""
    stock = {"sku": "shirt", "price": {"amount": 1, "currency": "EUR"}, "stock": 1000}
    sale = await api.open_sale(per_buyer_limit=1, items=[stock])
    body = b'{"lines":[{"sku":"shirt","quantity":1}]}'

    async def cut(number: int) -> None:
        _, writer = await asyncio.open_connection(settings.gateway.host, settings.gateway.port)
        writer.write(
            f"POST /v1/sales/{sale}/reservations HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token_of('buyer', f'buyer-{number}')}\r\n"
            f"Idempotency-Key: k\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.transport.abort()

    await asyncio.gather(*(cut(number) for number in range(300)))
    ids = [await settled_reply(api, sale, f"buyer-{number}") for number in range(300)]
    assert len(set(ids)) == 300
    item = (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).body["items"][0]
    assert (item["held"], item["available"]) == (300, 700)


async def test_when_the_ledger_is_behind_promises_stop_and_resolutions_go_on(
    settings: Settings,
) -> None:
    # load, set_state and two reserves fill the bound of four.
    inventory = settings.inventory.model_copy(update={"outbox_bound_events": 4})
    async with serving(settings.model_copy(update={"inventory": inventory})) as api:
        sale = await api.open_sale()
        first, second = await api.held(sale, "b1"), await api.held(sale, "b2")
        adjustment = {"sku": "shirt", "delta": 1, "reason": "r"}
        for reply in (
            await api.reserve(sale, "b3", "k"),
            await api.storefront("POST", f"/v1/reservations/{first}/extend", {"seconds": 5}),
            await api.ops("POST", f"/v1/sales/{sale}/stock-adjustments", adjustment),
        ):
            assert reply.told == (503, "ledger_behind")
            assert "Retry-After" in reply.headers
        path = f"/v1/reservations/{first}/confirm"
        assert (await api.storefront("POST", path, {"payment_reference": "p"})).status == 200
        path = f"/v1/reservations/{second}/cancel"
        assert (await api.storefront("POST", path)).status == 200


async def test_too_many_requests_at_once_are_turned_away(settings: Settings) -> None:
    async with serving(with_gateway(settings, max_in_flight=4)) as api:
        sale = await api.open_sale()
        calls = (api.reserve(sale, f"buyer-{n}", "k") for n in range(200))
        replies = await asyncio.gather(*calls)
        told = {reply.status for reply in replies}
        assert 201 in told
        busy = [reply for reply in replies if reply.status == 503]
        assert {reply.code for reply in busy} == {"overloaded"}
        assert all("Retry-After" in reply.headers for reply in busy)
        # A refused caller holds no unit.
        client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
        accepted = sum(reply.status == 201 for reply in replies)
        assert await client.xlen(outbox_key(PartitionId(sale, 0))) == 2 + accepted
        await client.aclose()


async def test_a_stop_does_not_wait_for_callers_that_say_nothing(settings: Settings) -> None:
    gateway = settings.gateway
    # Less than the server's default of one minute.
    async with asyncio.timeout(50), serving(settings) as api:
        assert (await api.call("GET", "/livez")).status == 200  # its connection stays open
        _, idle = await asyncio.open_connection(gateway.host, gateway.port)
        _, half = await asyncio.open_connection(gateway.host, gateway.port)
        half.write(b"POST /v1/sales/x/open HTTP/1.1\r\nHost: x\r\nContent-Len")
        await half.drain()
    idle.close()
    half.close()
