"""Locates the primary Redis: the configured server, or the one the Sentinels agree on.

All Sentinels are asked, and the answer with the newest configuration counts: a Sentinel that was
cut off together with an old primary goes on naming it, with an older configuration epoch. The
primary is located again all the time, so that no connection stays with a replaced primary.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.typing import EncodableT

from config.settings import RedisSettings, sentinel_addresses
from gateway.inventory.errors import Recovering
from gateway.inventory.redis.connection import RedisAddress

# How long an answer of the Sentinels stays valid.
LOOK_SECONDS = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class _Answer:
    """One Sentinel's answer; ordered by the age of its configuration."""

    epoch: int
    host: str
    port: int


class Primary:
    """The primary's address, for one connection pool; its own connections are closed after use."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._address = RedisAddress.parse(settings.url)
        self._sentinels = sentinel_addresses(settings.sentinels)
        self._looked_at = 0.0
        self._look: asyncio.Task[None] | None = None

    @property
    def may_move(self) -> bool:
        """Whether Sentinels choose the primary; else it is always the configured address."""
        return bool(self._sentinels)

    async def locate(self) -> RedisAddress:
        """The primary's address now. Raises Recovering when no Sentinel knows it."""
        if not self._sentinels:
            return self._address
        asked = (self._ask(host, port) for host, port in self._sentinels)
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        if not answers:
            raise Recovering("no Sentinel knows where the primary is")
        newest = max(answers)
        if (newest.host, newest.port) != (self._address.host, self._address.port):
            _log.warning("primary_found", host=newest.host, port=newest.port, epoch=newest.epoch)
        self._address = replace(self._address, host=newest.host, port=newest.port)
        self._looked_at = time.monotonic()
        return self._address

    def has_left(self, host: str, port: int) -> bool:
        """Whether the primary was last located elsewhere; renews the answer in the background."""
        if not self._sentinels:
            return False
        is_looking = self._look is not None and not self._look.done()
        if not is_looking and time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._look = asyncio.get_running_loop().create_task(self._look_again())
        return (host, port) != (self._address.host, self._address.port)

    async def _look_again(self) -> None:
        try:
            await self.locate()
        except Recovering as error:
            self._looked_at = time.monotonic()
            _log.warning("sentinels_unreachable", error=str(error))

    async def _ask(self, host: str, port: int) -> _Answer | None:
        """One Sentinel's answer, or None when it does not answer in time."""
        client = Redis(
            host=host, port=port, protocol=2, retry=Retry(NoBackoff(), 0), decode_responses=True,
            socket_timeout=self._settings.connect_timeout_seconds,
            socket_connect_timeout=self._settings.connect_timeout_seconds,
        )  # fmt: skip
        name = self._settings.sentinel_master
        try:
            async with client, client.pipeline(transaction=False) as pipeline:
                # The epoch is read first: after a switch an old address must not get the new epoch.
                pipeline.execute_command("SENTINEL MASTER", name)
                pipeline.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", name)
                facts, place = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("sentinel_unheard", host=host, port=port, error=str(error))
            return None
        if place is None:
            return None
        return _Answer(int(facts["config-epoch"]), str(place[0]), int(place[1]))


class FollowingConnection(Connection):
    """A redis-py connection that connects to the primary, and leaves a replaced primary."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        super().__init__(**options)
        self._primary = primary

    async def _connect(self) -> None:
        address = await self._primary.locate()
        self.host, self.port = address.host, address.port
        await super()._connect()  # type: ignore[no-untyped-call]

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """The command in the protocol's bytes, by hiredis: redis-py's own way is a third of the
        work of a comparison.
        """
        words = str(args[0]).split()  # redis-py writes `CONFIG GET` as one word
        return [hiredis.pack_command(cast("tuple[bytes]", (*words, *args[1:])))]

    async def check_health(self) -> None:
        """Called by redis-py before each command."""
        if self._primary.has_left(self.host, self.port):
            await self.disconnect()
            raise RedisConnectionError("Redis was replaced as the primary")
        await super().check_health()  # type: ignore[no-untyped-call]

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)
        except RuntimeError as error:  # uvloop raises it when the connection has just been lost
            raise RedisConnectionError(str(error)) from error


class FollowingTlsConnection(FollowingConnection, SSLConnection):
    """A FollowingConnection with TLS."""


def following_pool(settings: RedisSettings, connections: int) -> BlockingConnectionPool:
    """At most `connections` connections to the primary for redis-py, with bounded waits and no
    retries; they connect at their first use.
    """
    address = RedisAddress.parse(settings.url)
    return BlockingConnectionPool(
        max_connections=connections,
        timeout=settings.socket_timeout_seconds,
        connection_class=FollowingTlsConnection if address.tls else FollowingConnection,
        primary=Primary(settings),
        username=address.username,
        password=address.password,
        db=address.database,
        socket_timeout=settings.socket_timeout_seconds,
        socket_connect_timeout=settings.connect_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
