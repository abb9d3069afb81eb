"""The operations calls the bench makes of a running dropgate, and the wait for its ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import msgspec
from redis.asyncio import Redis

from config.waiting import poll_until
from loadtest.bench.machine.queries import QUERIES
from loadtest.bench.machine.stack import Stack, StackError
from loadtest.bench.sale import SKU
from loadtest.client.http_client import HttpClient, Response
from loadtest.client.target import mint_token

HOLD_SECONDS = 7200  # no hold comes due during a run
POLL_SECONDS = 0.02
DRAIN_TIMEOUT_SECONDS = 60.0  # for the ledger, after a run at full speed


class _Item(msgspec.Struct, frozen=True):
    available: int
    held: int
    sold: int


class Snapshot(msgspec.Struct, frozen=True):
    """Counters of the sale's items."""

    items: tuple[_Item, ...]

    @property
    def available(self) -> int:
        """Units left of the first item."""
        return self.items[0].available

    @property
    def sold(self) -> int:
        """Units of the first item that are paid for."""
        return self.items[0].sold

    @property
    def promised(self) -> int:
        """Units held or sold, of all items."""
        return sum(item.held + item.sold for item in self.items)


class Gate:
    """Calls to the gateway of one stack, with an operator's token."""

    def __init__(self, stack: Stack, client: HttpClient) -> None:
        """Call through `client`."""
        self.stack = stack
        self._client = client
        self._running = stack.running

    @classmethod
    @asynccontextmanager
    async def of(cls, stack: Stack) -> AsyncIterator["Gate"]:
        """A gate whose connections are closed at the end."""
        client = HttpClient(stack.running.gateway, 4)
        try:
            yield cls(stack, client)
        finally:
            await client.close()

    async def call(self, method: str, path: str, body: bytes = b"") -> Response:
        """One call with an operator's token. Raises StackError where it is refused."""
        token = mint_token(self._running.auth_secret, "ops", "bench")
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._client.authority}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        response = await self._client.request(head.encode() + body)
        if response.status >= 300:
            raise StackError(f"{method} {path}: {response.status} {response.body.decode()}")
        return response

    async def open_sale(
        self, sale_id: str, stock: int, limit: int, waiting_room: object = None, skus: int = 1
    ) -> None:
        """Create and open a sale in one partition, with as much stock of each SKU."""
        price = {"amount": 4900, "currency": "EUR"}
        names = [SKU, *(f"{SKU}-{number}" for number in range(2, skus + 1))]
        spec = {
            "items": [{"sku": name, "price": price, "stock": stock} for name in names],
            "hold_seconds": HOLD_SECONDS,
            "per_buyer_limit": limit,
            **({"waiting_room": waiting_room} if waiting_room else {}),
        }
        await self.call("PUT", f"/v1/sales/{sale_id}", msgspec.json.encode(spec))
        await self.call("POST", f"/v1/sales/{sale_id}/open")

    async def wait_until_open(self, sale_id: str, timeout_seconds: float) -> None:
        """Wait until the sale's partitions answer again after a recovery. Raises StackError."""
        is_open = partial(self._is_open, sale_id)
        if not await poll_until(is_open, timeout_seconds, first_seconds=POLL_SECONDS):
            raise StackError(f"sale {sale_id} is not open again after {timeout_seconds} s")

    async def _is_open(self, sale_id: str) -> bool:
        try:
            await self.snapshot(sale_id)
        except StackError:
            return False
        return True

    async def snapshot(self, sale_id: str) -> Snapshot:
        """The sale's counters now."""
        response = await self.call("GET", f"/v1/sales/{sale_id}/snapshot")
        return msgspec.json.decode(response.body, type=Snapshot)

    async def wait_for_ledger(self, sale_id: str, timeout_seconds: float) -> bool:
        """Wait until the ledger has applied the outbox of now; returns False after the time-out."""
        tail = await self._outbox_tail(sale_id)
        connection = await asyncpg.connect(self._running.postgres)

        async def has_applied() -> bool:
            return (await connection.fetchval(QUERIES["applied"], sale_id) or 0) >= tail

        try:
            return await poll_until(has_applied, timeout_seconds, first_seconds=POLL_SECONDS)
        finally:
            await connection.close()

    async def _outbox_tail(self, sale_id: str) -> int:
        redis = Redis.from_url(self._running.redis, protocol=2, decode_responses=True)
        try:
            newest = await redis.xrevrange(f"{{{sale_id}:0}}:outbox", count=1)
        finally:
            await redis.aclose()
        if not newest:
            raise StackError(f"sale {sale_id} has no outbox")
        return int(str(newest[0][0]).partition("-")[2])

    async def doubled_buyers(self, sale_id: str) -> int:
        """Buyers with more than one reservation in the ledger."""
        connection = await asyncpg.connect(self._running.postgres)
        try:
            return int(await connection.fetchval(QUERIES["doubled_buyers"], sale_id))
        finally:
            await connection.close()
