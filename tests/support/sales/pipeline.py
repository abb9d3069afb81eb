"""The order writer and the reconciler as they run in production, inside a test, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import msgspec

from config.settings import Settings
from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import SaleSpec
from order_writer.service import run as run_order_writer
from reconciler.service import run as run_reconciler
from tests.support.sales.partitions import HASH_KEY
from tests.support.waiting import WAIT_SECONDS

Run = Callable[[Settings, asyncio.Event], Awaitable[None]]


@asynccontextmanager
async def running(run: Run, settings: Settings) -> AsyncIterator[None]:
    """A process' service until the end of the block; a service that fails fails the test."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(run(settings, stop))
    try:
        yield
        assert not task.done() or task.result()
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await task


@asynccontextmanager
async def pipeline(settings: Settings) -> AsyncIterator[None]:
    """Order writer and reconciler."""
    async with running(run_order_writer, settings), running(run_reconciler, settings):
        yield


def keeping(settings: Settings, seconds: float, events: int = 1_000_000) -> Settings:
    """The settings, with outboxes that keep what the ledger has for so long, and so much of it."""
    bounds = {"outbox_keep_seconds": seconds, "outbox_keep_events": events}
    return settings.model_copy(update={"inventory": settings.inventory.model_copy(update=bounds)})


async def create_sale(
    ledger: "asyncpg.Connection[asyncpg.Record]", sale_id: str, spec: SaleSpec
) -> PartitionId:
    """A sale as PUT leaves it: in the ledger, a draft, or scheduled where it opens by itself."""
    state = "draft" if spec.opens_at is None else "scheduled"
    times: tuple[datetime | None, datetime | None] = (spec.opens_at, spec.closes_at)
    await ledger.execute(
        "INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key, opens_at, "
        "closes_at) VALUES ($1, $2, $3, 1, $4, $5, $6, $7)",
        sale_id, state, msgspec.json.encode(spec).decode(), spec.currency, HASH_KEY, *times,
    )  # fmt: skip
    for position, item in enumerate(spec.items, start=1):
        await ledger.execute(
            "INSERT INTO sale_items (sale_id, sku, position, name, price_amount, per_buyer_limit, "
            "floor) VALUES ($1, $2, $3, $2, $4, $5, $6)",
            sale_id, item.sku, position, item.price.amount,
            item.per_buyer_limit or spec.per_buyer_limit, item.floor,
        )  # fmt: skip
    return PartitionId(sale_id, 0)


async def state_of(ledger: "asyncpg.Connection[asyncpg.Record]", sale_id: str) -> str:
    """The sale's intended state in the ledger."""
    return str(await ledger.fetchval("SELECT state FROM sales WHERE sale_id = $1", sale_id))
