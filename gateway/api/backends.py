"""A worker's backends: its metrics, Postgres and Redis, and the sales and rooms read from them."""

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

import redis.asyncio as redis_py

from config.settings import RateLimitSettings, Settings
from config.waiting import cancelled
from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.ledger.connections import Ledger
from gateway.api.metrics.catalogue import GatewayMetrics
from gateway.api.queue.places import RoomFactsReader
from gateway.api.sales.directory import SaleDirectory
from gateway.inventory.redis.ledger_fence import open_fence
from gateway.inventory.redis.pool import ScriptPool
from gateway.inventory.settled.retirement import keys_client
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import BuyerRate
from gateway.process.postgres import create_pool
from lua.loader import load_scripts


class Backends(NamedTuple):
    """`ledger` is for calls that change state, and refuses a ledger that does not count; `reads` is
    for calls that only read; `client` is for keys that no script touches.
    """

    metrics: GatewayMetrics
    ledger: Ledger
    reads: Ledger
    pool: ScriptPool
    client: redis_py.Redis
    directory: SaleDirectory
    store: ReservationStore
    rooms: WaitingRooms


async def open_backends(settings: Settings, parts: AsyncExitStack) -> Backends:
    """Open every backend; `parts` closes them in reverse order.

    A server that cannot be reached is connected later. Raises DurabilityMismatch when Redis keeps
    less than the settings promise.
    """
    metrics = GatewayMetrics(settings.gateway.run_dir, settings.gateway.worker_slot)
    parts.callback(metrics.close)
    # What operators change is written by a ledger that counts at that moment.
    fence = await parts.enter_async_context(open_fence(settings.redis, answer_seconds=0.0))
    postgres = await create_pool(settings.postgres, guard=fence.guard)
    parts.callback(postgres.terminate)
    ledger = Ledger(postgres, settings.postgres.acquire_timeout_seconds)
    reading = await create_pool(settings.postgres, size=settings.postgres.read_pool_size)
    parts.callback(reading.terminate)
    # Reads have their own connections: slow or many reads never block calls that change state.
    reads = Ledger(reading, settings.postgres.acquire_timeout_seconds)
    pool = ScriptPool(settings.redis, load_scripts())
    parts.push_async_callback(pool.stop)
    await pool.start()
    client = keys_client(settings.redis)
    parts.push_async_callback(client.aclose)
    directory = SaleDirectory(ledger, settings.postgres)
    parts.push_async_callback(cancelled, asyncio.create_task(directory.listen()))
    store = ReservationStore(pool, _buyer_rate(settings.rate_limit))
    rooms = WaitingRooms(settings, pool, store, client, postgres, RoomFactsReader(directory))
    parts.push_async_callback(cancelled, asyncio.create_task(rooms.watch()))
    return Backends(metrics, ledger, reads, pool, client, directory, store, rooms)


def _buyer_rate(limits: RateLimitSettings) -> BuyerRate | None:
    """The rate limit of one buyer, which `reserve` keeps; None: no limit."""
    if not limits.buyer_per_second:
        return None
    return BuyerRate(limits.buyer_requests, max(1, round(limits.buyer_window_seconds * 1000)))
