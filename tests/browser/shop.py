"""What the tests do behind the pages: make and run sales, over the API."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt

from tests.support.api import Api
from tests.support.insisting import insist
from tests.support.servers import unique

SIZES = (41, 42, 43)


@dataclass(frozen=True)
class Shop:
    """A running gateway, and the key its tokens are signed with."""

    session: aiohttp.ClientSession
    url: str
    secret: str

    def token(self, scope: str, subject: str) -> str:
        """A token of any scope."""
        claims = {"sub": subject, "aud": "dropgate", "scope": scope, "exp": time.time() + 3600}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        scope: str = "ops",
        subject: str = "operator",
        **headers: str,
    ) -> dict[str, Any]:
        """The JSON of a call that must succeed; it is repeated while the answer is 503."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        api, token = Api(self.session, self.url), self.token(scope, subject)
        reply = await insist(
            lambda: api.call(method, path, token=token, json=json, headers=sent),
            f"{method} {path} is answered",
        )
        assert reply.status < 300, reply.raw
        return reply.body

    async def sale(
        self, *, name: str = "", stock: int = 5, is_open: bool = True, **changes: object
    ) -> str:
        """A new sale of shoes in three sizes; with a name of its own where none is given."""
        sale_id = name or unique("night-run")
        items = [
            {
                "sku": f"runner-{size}",
                "name": f"Night Runner, size {size}",
                "price": {"amount": 14900, "currency": "EUR"},
                "stock": stock,
            }
            for size in SIZES
        ]
        body = {"hold_seconds": 600, "per_buyer_limit": 1, "items": items}
        await self.call("PUT", f"/v1/sales/{sale_id}", body | changes)
        if is_open:
            await self.state(sale_id, "open")
        return sale_id

    async def state(self, sale_id: str, verb: str) -> None:
        """Open, pause, resume or close the sale (`verb`)."""
        await self.call("POST", f"/v1/sales/{sale_id}/{verb}")

    async def reserve(self, sale_id: str, buyer: str, sku: str = "runner-41") -> str:
        """Somebody else's reservation."""
        made = await self.call(
            "POST",
            f"/v1/sales/{sale_id}/reservations",
            {"lines": [{"sku": sku, "quantity": 1}]},
            scope="buyer",
            subject=buyer,
            Idempotency_Key="key",
        )
        return str(made["reservation_id"])

    async def units(self, sale_id: str) -> dict[str, int]:
        """Available, held and sold over all items."""
        items = (await self.call("GET", f"/v1/sales/{sale_id}/snapshot"))["items"]
        return {name: sum(item[name] for item in items) for name in ("available", "held", "sold")}


def from_now(seconds: float) -> str:
    """The time in so many seconds, as the API takes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
