"""Whether this worker can do its work, part by part."""

import asyncio
from typing import Literal

from gateway.admission.keyring import Keyring
from gateway.api.contract.overview_schemas import Health, UpDown
from gateway.api.ledger.connections import Ledger, LedgerUnavailable
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.directory import SaleDirectory
from gateway.inventory.redis.pool import ScriptPool

# Below what load balancers wait for: a Postgres that hangs must not make the gateway look dead.
POSTGRES_TIMEOUT_SECONDS = 1.0


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
                await self._ledger.fetchval(QUERIES["ledger_alive"])
        except (LedgerUnavailable, TimeoutError):
            return False
        return True
