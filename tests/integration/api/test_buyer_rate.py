"""The buyers' rate limit over HTTP: exact over all workers, in each answer, off by default."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from config.settings import RateLimitSettings, Settings
from config.stack.server import free_port
from tests.support.api import Api, serving

WORKERS = 3
BURST = 4  # one request returns in 1,000 s: no request returns during a test
SHIRT: dict[str, object] = {"lines": [{"sku": "shirt", "quantity": 1}]}


def limited(settings: Settings, slot: int = 0) -> Settings:
    """The settings of one of several workers with a limit."""
    gateway = {"port": free_port(), "worker_slot": slot, "workers": WORKERS}
    return settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(update=gateway),
            "rate_limit": RateLimitSettings(buyer_per_second=0.001, buyer_burst=BURST),
        }
    )


@pytest_asyncio.fixture
async def workers(settings: Settings) -> AsyncIterator[list[Api]]:
    """Gateway workers on the same servers, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(limited(settings, slot)))
            for slot in range(WORKERS)
        ]


async def test_it_is_told_with_every_answer_that_counts(settings: Settings) -> None:
    async with serving(limited(settings)) as api:
        sale = await api.open_sale(per_buyer_limit=2)
        policy = f'"buyer";q={BURST};w=4000'
        for key, status, remaining in (("a", 201, 3), ("b", 201, 2), ("c", 409, 1), ("d", 409, 0)):
            reply = await api.reserve(sale, "ada", key)
            assert reply.status == status
            assert reply.headers["RateLimit-Policy"] == policy
            assert reply.headers["RateLimit"].startswith(f'"buyer";r={remaining};t=')
        refused = await api.reserve(sale, "ada", "e")
        assert (refused.told, refused.body["limit"]) == ((429, "rate_limited"), "buyer")
        assert refused.headers["RateLimit-Policy"] == policy
        wait = refused.headers["Retry-After"]
        assert 0 < int(wait) <= 1000
        assert refused.headers["RateLimit"] == f'"buyer";r=0;t={wait}'
        assert refused.headers.getall("Retry-After") == [wait]
        shown = (await api.call("GET", "/metrics")).raw
        assert b'dropgate_rate_limited_total{limit="buyer"} 1.0' in shown
        again = await api.reserve(sale, "ada", "a")
        assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
        assert "RateLimit" not in again.headers
        assert (await api.reserve(sale, "bob", "a")).status == 201
        assert (await api.reserve(await api.open_sale(), "ada", "a")).status == 201


async def test_a_shop_is_not_held_to_its_buyers_limit(settings: Settings) -> None:
    async with serving(limited(settings)) as api:
        sale = await api.open_sale(per_buyer_limit=10)
        path, body = f"/v1/sales/{sale}/reservations", SHIRT | {"buyer_id": "ada"}
        for number in range(BURST + 2):
            reply = await api.storefront("POST", path, body, Idempotency_Key=f"k{number}")
            assert reply.status == 201
            assert "RateLimit" not in reply.headers


async def test_without_a_limit_nothing_is_told(api: Api) -> None:
    sale = await api.open_sale()
    assert "RateLimit" not in (await api.reserve(sale, "ada", "a")).headers


async def storm(workers: list[Api], buyers: int, each: int) -> dict[int, int]:
    """Answers by status, where each buyer sends `each` requests over all workers."""
    item = {"sku": "shirt", "price": {"amount": 1, "currency": "EUR"}, "stock": 1000}
    sale = await workers[0].open_sale(per_buyer_limit=1000, items=[item])
    replies = await asyncio.gather(
        *(
            workers[(buyer + number) % len(workers)].reserve(sale, f"b{buyer}", f"k{number}")
            for number in range(each)
            for buyer in range(buyers)
        )
    )
    counted: dict[int, int] = {}
    for reply in replies:
        counted[reply.status] = counted.get(reply.status, 0) + 1
    return counted


async def test_it_is_exact_over_all_workers(workers: list[Api]) -> None:
    assert await storm(workers, buyers=5, each=12) == {201: 5 * BURST, 429: 5 * (12 - BURST)}


async def test_a_limit_each_worker_keeps_alone_lets_more_through(
    workers: list[Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with buckets of its own for each worker the same storm is not held."""
    own = iter(range(10**6))
    monkeypatch.setattr(
        "gateway.inventory.store.bucket_keys",
        lambda partition: tuple(f"{{{partition}}}:own:{next(own)}".encode() for _ in range(2)),
    )
    assert (await storm(workers, buyers=5, each=12))[201] > 5 * BURST
