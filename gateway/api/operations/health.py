"""The health of this worker, part by part."""

import asyncio
from typing import Literal

from gateway.admission.keyring import Keyring
from gateway.api.contract.overview_schemas import Health, UpDown
from gateway.api.ledger.connections import Ledger, LedgerUnavailable
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.directory import SaleDirectory
from gateway.inventory.redis.pool import ScriptPool

# Load balancers wait longer than this: a Postgres that hangs must not make the gateway look dead.
POSTGRES_TIMEOUT_SECONDS = 1.0


class HealthCheck:
    """Checks Redis, Postgres, the sales listener and the token keys."""

    def __init__(
        self,
        pool: ScriptPool,
        ledger: Ledger,
        directory: SaleDirectory,
        keyring: Keyring | None = None,
    ) -> None:
        """The parts to check; `keyring` None: tokens are checked with shared secrets alone."""
        self._keyring = keyring
        self._pool = pool
        self._ledger = ledger
        self._directory = directory

    async def check(self) -> Health:
        """The state now, within POSTGRES_TIMEOUT_SECONDS.

        Not ready without Redis (the pool connects only to a Redis that keeps what the settings
        promise), and without Postgres as long as this worker knows no sale it could sell.
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
