"""Whether this worker can do its work, part by part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.api.ledger import LedgerUnavailable
from gateway.api.sales import SQL

if TYPE_CHECKING:
    from gateway.admission.keyring import Keyring
    from gateway.api.ledger import Ledger
    from gateway.api.sales import SaleDirectory
    from gateway.inventory.redis.pool import ScriptPool

# Below what load balancers wait for: a Postgres that hangs must not make the gateway look dead.
POSTGRES_TIMEOUT_SECONDS = 1.0

UpDown = Literal["up", "down"]


class Alive(msgspec.Struct, frozen=True):
    """What `/livez` says, if it says anything."""

    status: Literal["alive"] = "alive"


class Health(msgspec.Struct, frozen=True):
    """What `/readyz` says; `durability` is what an answered reservation is worth.

    `degraded`: the parts without which the worker goes on, selling the sales it knows.
    """

    status: Literal["ready", "degraded", "not_ready"]
    degraded: tuple[str, ...]
    redis: UpDown
    postgres: UpDown
    sales_listener: UpDown
    durability: str


class HealthCheck:
    """Looks at every part."""

    def __init__(
        self,
        pool: ScriptPool,
        ledger: Ledger,
        directory: SaleDirectory,
        keyring: Keyring | None = None,
    ) -> None:
        """The parts; `keyring` where there is one."""
        self._keyring = keyring
        self._pool = pool
        self._ledger = ledger
        self._directory = directory

    async def check(self) -> Health:
        """The state of now, within POSTGRES_TIMEOUT_SECONDS.

        Not ready without a Redis that keeps what the settings promise (no other is connected to),
        and without Postgres as long as there is nothing this worker could sell alone.
        """
        redis: UpDown = "up" if self._pool.connected else "down"
        postgres: UpDown = "up" if await self._postgres_answers() else "down"
        status: Literal["ready", "degraded", "not_ready"] = "ready"
        if postgres == "down":
            status = "degraded" if self._directory.sells_alone else "not_ready"
        degraded = ("postgres",) if status == "degraded" else ()
        if self._keyring is not None and self._keyring.state == "none":
            degraded = (*degraded, "token_keys")
            status = "degraded" if status == "ready" else status
        if redis == "down":
            status = "not_ready"
        return Health(
            status=status,
            degraded=degraded if status == "degraded" else (),
            redis=redis,
            postgres=postgres,
            sales_listener="up" if self._directory.listening else "down",
            durability=self._pool.durability,
        )

    async def _postgres_answers(self) -> bool:
        try:
            async with asyncio.timeout(POSTGRES_TIMEOUT_SECONDS):
                await self._ledger.fetchval(SQL["ledger_alive"])
        except (LedgerUnavailable, TimeoutError):
            return False
        return True
