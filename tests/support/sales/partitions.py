"""Partitions of real sales in a real Redis, for tests that need no gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config.settings import RedisSettings
from gateway.inventory.catalog import PartitionBounds, load_config
from gateway.inventory.keys import PartitionId, keyed_token
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.specs import ItemSpec, Money, SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import AskedLines
from lua.loader import load_scripts

HASH_KEY = b"k" * 32
ONE_UNIT = AskedLines((1, 0, 1))
FINGERPRINT = "one-unit"
BOUNDS = PartitionBounds(outbox_bound=1_000_000, sweep_bound=64)


def token_of(buyer: str, key: str = "key") -> str:
    """The token a gateway would derive for this buyer and idempotency key."""
    return keyed_token(HASH_KEY, buyer, key)


def one_item(stock: int, *, limit: int = 1, floor: int = 0, hold_seconds: int = 600) -> SaleSpec:
    """A sale of one SKU at one location."""
    item = ItemSpec(
        sku="sku", price=Money(100, "EUR"), stock=stock, floor=floor, per_buyer_limit=limit
    )
    return SaleSpec(items=(item,), hold_seconds=hold_seconds)


@asynccontextmanager
async def open_store(settings: RedisSettings) -> AsyncIterator[tuple[ScriptPool, ReservationStore]]:
    """A started pool and a store over it."""
    pool = ScriptPool(settings, load_scripts())
    await pool.start()
    try:
        yield pool, ReservationStore(pool)
    finally:
        await pool.stop()


async def open_sale(store: ReservationStore, sale_id: str, spec: SaleSpec) -> PartitionId:
    """Load the sale's one partition and open it."""
    partition = PartitionId(sale_id, 0)
    assert await store.load(partition, load_config(spec, partition, BOUNDS)) == "loaded"
    assert await store.set_state(partition, "open") == ("changed", "scheduled")
    return partition
