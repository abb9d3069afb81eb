"""One active reconciler: the process that has the lease in the ledger.

The lease ends on the server's clock, LEASE_SECONDS after its last renewal, so that a leader which
is frozen, or whose host is gone, blocks nobody for longer. A renewal needs both servers: a leader
that cannot reach Redis does not renew, and a standby that cannot reach Redis does not take the
lead; nor does anybody by a ledger that does not count (gateway/inventory/redis/ledger_fence.py).
The leader counts from before it asked for the renewal, and stops MARGIN_SECONDS early: its
own end comes before the server's.

A leader that was frozen may wake in the middle of a duty and go on for one step before it looks at
the clock; a request that it sent before may arrive late. Neither does harm: every duty is safe
beside another process at the same duty (docs/decisions/0025-a-lease-for-the-lead.md).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import asyncpg
import structlog
from redis.exceptions import RedisError

from config.settings import PostgresSettings
from config.waiting import Backoff, happened_within
from gateway.inventory.errors import InventoryError
from gateway.inventory.leases import owner_name
from gateway.inventory.redis.ledger_fence import LedgerFenced
from gateway.process.ledger_identity import LedgerIdentity, read_identity
from gateway.process.postgres import LEDGER_FAULTS
from reconciler.context import QUERIES
from reconciler.keeping.notices import Notices

SALES_CHANNEL = "dropgate_sales"
CHANNELS = (SALES_CHANNEL, "dropgate_reconciler")
LEASE_SECONDS = 4.0
MARGIN_SECONDS = 0.5
RENEW_SECONDS = 1.0
# A standby's pause between attempts: with the lease's length, the longest time without a leader.
LOOK_SECONDS = 0.5
REDIS_TIMEOUT_SECONDS = 1.0
CHECK_TIMEOUT_SECONDS = 3.0
RECONNECT_FIRST_SECONDS = 0.1
RECONNECT_MOST_SECONDS = 1.0
# Counts while the host sleeps, too, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_log = structlog.get_logger()


class Role(Enum):
    """Whether this process leads, as far as it knows."""

    UNKNOWN = auto()
    STANDBY = auto()
    ACTIVE = auto()


class Leadership:
    """Seeks and renews the lease for as long as `keep` runs."""

    def __init__(
        self,
        settings: PostgresSettings,
        claim: Callable[[LedgerIdentity], Awaitable[object]],
        on_notice: Callable[[str], None],
    ) -> None:
        """`claim` returns where Redis answers that this ledger counts, and raises otherwise.
        `on_notice` is called with the channel of a notification, and with "" on a new role.
        """
        self._settings = settings
        self._claim = claim
        self._on_notice = on_notice
        self._ends_at = 0.0
        self._ending: asyncio.TimerHandle | None = None
        self._notices = Notices()
        self.name = owner_name()
        self.role = Role.UNKNOWN

    @property
    def left_seconds(self) -> float:
        """How long this process may still lead without a renewal; 0 where it does not lead."""
        return max(0.0, self._ends_at - time.clock_gettime(_CLOCK))

    @property
    def leads(self) -> bool:
        """Whether this process may act as the leader now."""
        return self.left_seconds > 0

    async def keep(self, stop: asyncio.Event) -> None:
        """Seek and hold the lead until `stop`; then give it up."""
        pauses = Backoff(RECONNECT_FIRST_SECONDS, RECONNECT_MOST_SECONDS)
        while not stop.is_set():
            try:
                await self._hold(stop)
                pauses.reset()
            except LEDGER_FAULTS as error:
                self._notices.warn("lead_not_renewed", "postgres", error=_text(error))
                await pauses.pause_unless(stop)
        self._end()

    async def _hold(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._settings.dsn,
            timeout=self._settings.acquire_timeout_seconds,
            command_timeout=CHECK_TIMEOUT_SECONDS,
            server_settings={"application_name": "dropgate-reconciler"},
        )
        try:
            ledger = await read_identity(connection)
            for channel in CHANNELS:
                await connection.add_listener(channel, self._noticed)
            while not stop.is_set():
                await self._renew(connection, ledger)
                await happened_within(stop, RENEW_SECONDS if self.leads else LOOK_SECONDS)
            await connection.execute(QUERIES["give_up_lead"], self.name)
        finally:
            connection.terminate()

    async def _renew(self, connection: asyncpg.Connection, ledger: LedgerIdentity) -> None:
        """Take or renew the lease where Redis answers; else leave it to its end.

        Raises LedgerFenced where another ledger counts: nobody leads by this ledger.
        """
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._claim(ledger)
        except LedgerFenced:
            self._end(Role.STANDBY)
            raise
        except (RedisError, InventoryError, OSError, TimeoutError) as error:
            self._notices.warn("lead_not_renewed", "redis", error=_text(error))
            return
        asked_at = time.clock_gettime(_CLOCK)
        if await connection.fetchval(QUERIES["take_lead"], self.name, LEASE_SECONDS) is None:
            self._end(Role.STANDBY)
            return
        self._ends_at = asked_at + LEASE_SECONDS - MARGIN_SECONDS
        if self._ending is not None:
            self._ending.cancel()
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(self.left_seconds, self._end)
        if self.leads:
            self._become(Role.ACTIVE)

    def _end(self, role: Role = Role.UNKNOWN) -> None:
        """The lease has ended, or another process has it."""
        self._ends_at = 0.0
        if self._ending is not None:
            self._ending.cancel()
        self._become(role)

    def _noticed(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self._on_notice(channel)

    def _become(self, role: Role) -> None:
        if role is not self.role:
            _log.info("role_changed", role=role.name.lower(), name=self.name)
            self.role = role
            self._on_notice("")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
