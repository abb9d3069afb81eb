"""A real gateway worker of a test's own, and a client that speaks to it as the three scopes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest_asyncio
from multidict import CIMultiDictProxy

from config.settings import Settings
from gateway.api.service import run
from tests.support.servers import SECRET, unique
from tests.support.waiting import wait_until

# Longer than a run of all tests: some tokens are made when a test module is imported.
TOKEN_LIFE_SECONDS = 86_400.0


def token_of(scope: str, subject: str, **claims: object) -> str:
    """A token made by PyJWT, the reference implementation."""
    expires_at = time.time() + TOKEN_LIFE_SECONDS
    payload = {"sub": subject, "aud": "dropgate", "exp": expires_at, "scope": scope}
    return jwt.encode(payload | claims, SECRET, algorithm="HS256")


def sale_body(**changes: object) -> dict[str, object]:
    """A sale of two SKUs, one of them at two locations; `changes` replace fields."""
    price = {"amount": 1999, "currency": "EUR"}
    body: dict[str, object] = {
        "items": [
            {"sku": "shirt", "price": price, "stock": 10},
            {"sku": "cap", "price": price, "locations": {"north": 3, "south": 2}},
        ],
        "hold_seconds": 600,
        "per_buyer_limit": 4,
    }
    return body | changes


@dataclass(frozen=True)
class Reply:
    """A response; `body` is its JSON, `raw` its bytes."""

    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the response."""
        decoded = msgspec.json.decode(self.raw)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def code(self) -> str:
        """The problem's code."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.body["status"] == self.status
        return str(self.body["code"])

    @property
    def told(self) -> tuple[int, str]:
        """Status and code of a problem, in one value to compare."""
        return self.status, self.code


class Api:
    """Calls of the HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        json: object = None,
        data: object = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request; `json` is encoded, `data` goes out as it is."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if json is not None:
            data = msgspec.json.encode(json)
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        async with self.session.request(
            method, self.url + path, data=data, headers=sent
        ) as response:
            raw = await response.read()
            assert response.headers["X-Request-Id"]
            return Reply(response.status, response.headers, raw)

    async def ops(self, method: str, path: str, json: object = None, **headers: str) -> Reply:
        """As an operator."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = token_of("ops", "operator")
        return await self.call(method, path, token=token, json=json, headers=named)

    async def storefront(
        self, method: str, path: str, json: object = None, **headers: str
    ) -> Reply:
        """As a storefront."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = token_of("storefront", "shop")
        return await self.call(method, path, token=token, json=json, headers=named)

    async def buyer(
        self, subject: str, method: str, path: str, json: object = None, **headers: str
    ) -> Reply:
        """As a buyer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = token_of("buyer", subject)
        return await self.call(method, path, token=token, json=json, headers=named)

    async def open_sale(self, **changes: object) -> str:
        """A new, open sale."""
        sale_id = unique("sale")
        made = await self.ops("PUT", f"/v1/sales/{sale_id}", sale_body(**changes))
        assert made.status == 201, made.raw
        opened = await self.ops("POST", f"/v1/sales/{sale_id}/open")
        assert (opened.status, opened.body["state"]) == (200, "open"), opened.raw
        return sale_id

    async def reserve(
        self, sale_id: str, buyer_id: str, key: str, *lines: tuple[str, int]
    ) -> Reply:
        """A reserve by the buyer: pairs of SKU and quantity, one shirt where none is named."""
        named = [{"sku": sku, "quantity": quantity} for sku, quantity in lines or [("shirt", 1)]]
        path = f"/v1/sales/{sale_id}/reservations"
        return await self.buyer(buyer_id, "POST", path, {"lines": named}, Idempotency_Key=key)

    async def held(self, sale_id: str, buyer_id: str, *lines: tuple[str, int]) -> str:
        """The id of a new reservation."""
        made = await self.reserve(sale_id, buyer_id, unique("key"), *lines)
        assert made.status == 201, made.raw
        return str(made.body["reservation_id"])


@asynccontextmanager
async def serving(settings: Settings, path: str = "/readyz") -> AsyncIterator[Api]:
    """A gateway worker in this process, from when `path` answers 200."""
    stop = asyncio.Event()
    served = asyncio.create_task(run(settings, stop))
    url = f"http://{settings.gateway.host}:{settings.gateway.port}"
    async with aiohttp.ClientSession() as session:

        async def ready() -> bool:
            assert not served.done() or served.result()
            try:
                async with session.get(url + path) as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        try:
            await wait_until(ready, "the gateway is ready")
            yield Api(session, url)
        finally:
            stop.set()
            await served


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of a gateway worker on this test's servers."""
    async with serving(settings) as client:
        yield client
