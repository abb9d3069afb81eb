"""Whether this worker can do its work, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.api.ledger import LedgerUnavailable
from gateway.api.sales import SQL

if TYPE_CHECKING:
    from gateway.api.ledger import Ledger
    from gateway.api.sales import SaleDirectory
    from gateway.inventory.pool import ScriptPool


UpDown = Literal["up", "down"]


class Health(msgspec.Struct, frozen=True):
    """What `/readyz` says; `durability` is what an answered reservation is worth."""

    status: Literal["ready", "not_ready"]
    redis: UpDown
    postgres: UpDown
    sales_listener: UpDown
    durability: str


class HealthCheck:
    """Looks at every part."""

    def __init__(self, pool: ScriptPool, ledger: Ledger, directory: SaleDirectory) -> None:
        """The parts."""
        self._pool = pool
        self._ledger = ledger
        self._directory = directory

    async def check(self) -> Health:
        """The state of now; ready when Redis and Postgres answer."""
        redis: UpDown = "up" if self._pool.connected else "down"
        postgres: UpDown = "up"
        try:
            await self._ledger.fetchval(SQL["ledger_alive"])
        except LedgerUnavailable:
            postgres = "down"
        return Health(
            status="ready" if (redis, postgres) == ("up", "up") else "not_ready",
            redis=redis,
            postgres=postgres,
            sales_listener="up" if self._directory.listening else "down",
            durability=self._pool.durability,
        )
