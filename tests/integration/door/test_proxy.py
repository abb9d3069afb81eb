"""Behind a real nginx with the configuration that is shipped."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from config.settings import RateLimitSettings, Settings
from tests.support.api import Api, Reply, serving, token_of
from tests.support.network.nginx import Nginx, proxied
from tests.support.network.raw_http import raw_connection, raw_request
from tests.support.servers import unique
from tests.support.waiting import wait_until
from tests.support.waiting_room.events import joined, listening
from tests.support.waiting_room.places import NARROW_ROOM

ONE_SHIRT = b'{"lines":[{"sku":"shirt","quantity":1}]}'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The proxy is at one address; the buyers of these tests are at others of the loopback."""
    gateway = settings.gateway.model_copy(update={"trusted_proxies": "127.0.0.1"})
    return settings.model_copy(update={"gateway": gateway})


@pytest_asyncio.fixture
async def nginx(api: Api, settings: Settings, tmp_path: Path) -> AsyncIterator[Nginx]:
    """Nginx in front of the gateway of `api`."""
    assert api.url.endswith(str(settings.gateway.port))
    async with proxied(tmp_path / "nginx", settings.gateway.port) as server:
        yield server


async def asked(api: Api, status: str) -> float:
    """How often the gateway itself was asked for a sale, answered with this class of status."""
    line = f'dropgate_http_requests_total{{route="sale",status="{status}"}} '
    for found in (await api.call("GET", "/metrics")).raw.decode().splitlines():
        if found.startswith(line):
            return float(found[len(line) :])
    raise AssertionError(line)


async def look(api: Api, nginx: Nginx, path: str, **headers: str) -> Reply:
    """A GET through nginx."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await Api(api.session, nginx.url).call("GET", path, headers=named)


async def test_however_many_look_the_gateway_is_asked_a_few_times_a_second(
    api: Api, nginx: Nginx
) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}"
    await look(api, nginx, path)
    before = await asked(api, "2xx") + await asked(api, "3xx")
    looks, began, enough = 0, time.monotonic(), 3.0

    async def crowd(number: int) -> None:
        nonlocal looks
        while time.monotonic() - began < enough:
            # An invented query string does not get past the cache.
            seen = await look(api, nginx, f"{path}?{number}-{looks}")
            assert seen.status == 200
            assert seen.body["sale_id"] == sale
            looks += 1

    await asyncio.gather(*(crowd(number) for number in range(32)))
    seconds = time.monotonic() - began
    origin = await asked(api, "2xx") + await asked(api, "3xx") - before
    assert origin <= 4 + 3 * seconds, f"{looks} looks, {origin} at the gateway"
    assert looks > 5 * origin


async def test_what_has_not_changed_is_asked_for_by_its_tag(api: Api, nginx: Nginx) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}"
    first = await look(api, nginx, path)
    tag = first.headers["ETag"]
    same = await look(api, nginx, path, If_None_Match=tag)
    assert (same.status, same.headers["ETag"]) == (304, tag)

    async def revalidated() -> bool:
        assert (await look(api, nginx, path)).headers["ETag"] == tag
        return await asked(api, "3xx") > 0

    await wait_until(revalidated, "nginx asks by the tag")
    assert (await api.ops("POST", f"{path}/pause")).status == 200

    async def paused() -> bool:
        seen = await look(api, nginx, path, If_None_Match=tag)
        return seen.status == 200 and seen.body["state"] == "paused"

    await wait_until(paused, "the new state is shown")


async def test_calls_pass_through(api: Api, nginx: Nginx) -> None:
    sale = await api.open_sale()
    through = Api(api.session, nginx.url)
    made = await through.reserve(sale, "buyer", "key")
    assert made.status == 201
    again = await through.reserve(sale, "buyer", "key")
    assert again.headers["Idempotent-Replayed"] == "true"
    paid = await through.storefront(
        "POST",
        f"/v1/reservations/{made.body['reservation_id']}/confirm",
        {"payment_reference": "p"},
    )
    assert paid.status == 200
    changed = await through.ops("PUT", f"/v1/sales/{sale}", {})
    assert changed.told == (422, "invalid")  # a PUT of the same path is no matter for the cache
    assert (await through.call("GET", f"/v1/sales/{unique('none')}")).told == (404, "not_found")
    for path in ("/livez", "/readyz", "/metrics", "/ops"):
        async with api.session.get(nginx.url + path) as hidden:
            assert hidden.status == 404, path


async def test_a_place_in_line_is_told_through_it_at_once(api: Api, nginx: Nginx) -> None:
    through = Api(api.session, nginx.url)
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    await joined(through, sale, "buyer-1")
    ticket = await joined(through, sale, "buyer-2")
    async with listening(through, sale, "buyer-2", ticket) as stream:
        told = await stream.read()
        assert told is not None
        assert not told.answer.admission_token
        await through.buyer("buyer-1", "DELETE", f"/v1/sales/{sale}/queue")
        while not told.answer.admission_token:
            told = await stream.read()
            assert told is not None, "the stream goes on"


async def test_limits_are_those_of_the_buyer_behind_the_proxy(
    settings: Settings, tmp_path: Path
) -> None:
    limits = RateLimitSettings(network_per_second=0.01, network_burst=2)
    settings = settings.model_copy(update={"rate_limit": limits})
    async with (
        serving(settings) as api,
        proxied(tmp_path / "nginx", settings.gateway.port) as nginx,
    ):
        path = f"/v1/sales/{await api.open_sale()}/reservations"

        async def reserve(source: str, number: int) -> int:
            async with raw_connection(nginx.port, source) as connection:
                request = raw_request(
                    path,
                    ONE_SHIRT,
                    Authorization=f"Bearer {token_of('buyer', unique('buyer'))}",
                    Idempotency_Key="key",
                    X_Forwarded_For=f"198.51.{number}.1",  # an invention, each time another
                    Forwarded=f"for=198.51.{number}.2",
                )
                connection.send(request)
                return (await connection.answer()).status

        assert [await reserve("127.0.5.1", number) for number in range(4)] == [201, 201, 429, 429]
        assert await reserve("127.0.6.1", 9) == 201


async def test_the_proxy_speaks_as_the_gateway_does(api: Api, nginx: Nginx) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/queue"

    async def call(number: int) -> Reply:
        return await Api(api.session, nginx.url).buyer(f"b-{number}", "GET", path)

    told = [await call(number) for number in range(30)]
    while told[-1].status != 429 and len(told) < 3000:
        told += await asyncio.gather(*(call(number) for number in range(60)))
    refused = next(reply for reply in told if reply.status == 429)
    assert refused.code == "rate_limited"
    assert refused.headers["Retry-After"] == "2"
    assert refused.body["request_id"] == refused.headers["X-Request-Id"]


async def test_a_gateway_that_is_away_is_a_problem(settings: Settings, tmp_path: Path) -> None:
    async with (
        proxied(tmp_path / "nginx", settings.gateway.port) as nginx,
        aiohttp.ClientSession() as session,
    ):
        lost = await Api(session, nginx.url).reserve("sale", "buyer", "key")
        assert lost.told == (503, "recovering")
        assert lost.headers["Retry-After"] == "2"
