"""One active reconciler: the session that holds a Postgres advisory lock.

The lock lives on a connection of its own, which also listens for requests of other processes. A
process that cannot reach Postgres does not know whether it leads: duties that are safe in any
number of processes (returning due holds) go on then, the others wait.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

import asyncpg
import structlog

from config.settings import PostgresSettings
from config.waiting import Backoff, happened_within
from gateway.process.postgres import LEDGER_FAULTS
from reconciler.context import QUERIES

CHANNELS = ("dropgate_sales", "dropgate_reconciler")
POLL_SECONDS = 1.0
CHECK_TIMEOUT_SECONDS = 3.0
RECONNECT_FIRST_SECONDS = 0.1
RECONNECT_MOST_SECONDS = 2.0

_log = structlog.get_logger()


class Role(Enum):
    """Whether this process leads, as far as it knows."""

    UNKNOWN = auto()
    STANDBY = auto()
    ACTIVE = auto()


class Leadership:
    """Holds the lock for as long as `keep` runs and Postgres lets it."""

    def __init__(self, settings: PostgresSettings, on_notice: Callable[[str], None]) -> None:
        """`on_notice` is called with the channel of a notification, and with "" on a new role."""
        self._settings = settings
        self._on_notice = on_notice
        self.role = Role.UNKNOWN

    async def keep(self, stop: asyncio.Event) -> None:
        """Seek and hold the lead until `stop`; then give it up."""
        pauses = Backoff(RECONNECT_FIRST_SECONDS, RECONNECT_MOST_SECONDS)
        while not stop.is_set():
            try:
                await self._hold(stop)
                pauses.reset()
            except LEDGER_FAULTS as error:
                _log.warning("lead_lost", error=str(error) or type(error).__name__)
                self._become(Role.UNKNOWN)
                await pauses.pause_unless(stop)

    async def _hold(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._settings.dsn,
            timeout=self._settings.acquire_timeout_seconds,
            command_timeout=CHECK_TIMEOUT_SECONDS,
            server_settings={"application_name": "dropgate-reconciler"},
        )
        try:
            for channel in CHANNELS:
                await connection.add_listener(channel, self._noticed)
            leads = False
            while not stop.is_set():
                if leads:
                    await connection.fetchval(QUERIES["still_lead"])
                else:
                    leads = await connection.fetchval(QUERIES["try_lead"])
                    self._become(Role.ACTIVE if leads else Role.STANDBY)
                await happened_within(stop, POLL_SECONDS)
        finally:
            connection.terminate()  # the server ends the session, and the lock with it

    def _noticed(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self._on_notice(channel)

    def _become(self, role: Role) -> None:
        if role is not self.role:
            _log.info("role_changed", role=role.name.lower())
            self.role = role
            self._on_notice("")
