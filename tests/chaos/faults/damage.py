"""Damage to what servers have on disk or in memory, beyond killing them."""

from pathlib import Path

from redis.asyncio import Redis

from tests.chaos.faults.kafka import TOPIC
from tests.support.servers import append_only_file

KEYS = ("meta", "stock", "reservations", "buyers", "deadlines", "outbox")


def truncate_redis(folder: Path, lost_bytes: int) -> None:
    """Cut the end off the append-only file of a Redis that is down, wherever that falls."""
    log = append_only_file(folder)
    with log.open("r+b") as file:
        file.truncate(max(0, log.stat().st_size - lost_bytes))


def truncate_topic(folder: Path, lost_bytes: int) -> None:
    """Cut the last events off every partition of the topic of a broker that is down."""
    logs = [log for log in folder.rglob(f"{TOPIC}-*/*.log") if log.stat().st_size]
    for log in logs:
        with log.open("r+b") as file:
            file.truncate(max(0, log.stat().st_size - lost_bytes))


async def lose_key(redis: Redis, sale_id: str, name: str) -> None:
    """Delete one key of the partition."""
    await redis.delete(f"{{{sale_id}:0}}:{name}")


async def retype_key(redis: Redis, sale_id: str, name: str) -> None:
    """Give one key of the partition another type."""
    await redis.set(f"{{{sale_id}:0}}:{name}", "something else")
