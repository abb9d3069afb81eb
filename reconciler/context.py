"""What every duty works with: the ledger, the scripts, a reader of Redis, and settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.queries import Queries
from config.settings import EventLogSettings, RedisSettings, Settings
from gateway.inventory.catalog import PartitionBounds
from gateway.inventory.errors import InventoryError
from gateway.inventory.redis.ledger_fence import LedgerFence, open_fence
from gateway.inventory.redis.outbox import create_reader
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.store import ReservationStore
from gateway.process.postgres import LEDGER_FAULTS, create_pool
from lua.loader import load_scripts

QUERIES = Queries(Path(__file__).parent / "sql")

# Statements over a sale that was small a minute ago: each execution is planned for its size of now.
_PLANNED_ANEW = {"plan_cache_mode": "force_custom_plan"}
# What a server raises that is away, restarting or overloaded: duties try again; it is no defect.
OUTAGES = (
    InventoryError,
    RedisError,
    *LEDGER_FAULTS,
)


@dataclass(frozen=True, slots=True)
class Context:
    """Open connections; `reader` only reads Redis, `store` runs the scripts. `ledger` gives no
    connection to a ledger that `fence` refuses.
    """

    ledger: asyncpg.Pool
    fence: LedgerFence
    store: ReservationStore
    reader: Redis
    bounds: PartitionBounds
    event_log: EventLogSettings
    redis: RedisSettings


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncIterator[Context]:
    """Connections for the life of the block. Raises DurabilityMismatch for an unfit Redis."""
    async with open_fence(settings.redis) as fence:
        scripts = ScriptPool(settings.redis, load_scripts())
        reader = create_reader(settings.redis)
        ledger = await create_pool(
            settings.postgres, server_settings=_PLANNED_ANEW, guard=fence.guard
        )
        try:
            await scripts.start()
            yield Context(
                ledger=ledger,
                fence=fence,
                store=ReservationStore(scripts),
                reader=reader,
                bounds=PartitionBounds(
                    outbox_bound=settings.inventory.outbox_bound_events,
                    sweep_bound=settings.inventory.sweep_bound,
                ),
                event_log=settings.event_log,
                redis=settings.redis,
            )
        finally:
            await scripts.stop()
            await reader.aclose()
            ledger.terminate()
