"""The fence: a ledger by whose word nobody acts, because another ledger counts.

A lease in Redis names the ledger that counts (lua/leases/claim.lua). Whoever uses a ledger claims
the lease for it, at least once a second: a promoted standby takes it over at once, a restored copy
when nobody has reached the former ledger for LEASE_SECONDS. A guarded pool asks before each use of
a connection. What cannot be undone (trimming, rebuilding, repairing, settling) asks again in Redis,
in the step itself.

While Redis is away, the ledger that counted last counts on, as does a promoted copy of that ledger:
nobody can act on Redis meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import structlog
from asyncpg.pool import PoolConnectionProxy
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import RedisSettings
from gateway.inventory.errors import InventoryError
from gateway.inventory.keys import LEDGER_LEASE_KEYS
from gateway.inventory.redis.outbox import create_reader
from gateway.process.ledger_identity import LedgerIdentity, identity_of
from lua.loader import LEASES, load_scripts

# For how long after its last renewal a ledger counts against one that is no promoted copy of it.
LEASE_SECONDS = 15.0
# How old the answer to a claim may be, by default; and how long Redis is not asked again after it
# gave none.
CLAIM_SECONDS = 1.0
REDIS_TIMEOUT_SECONDS = 1.0
CONNECTIONS = 2

_log = structlog.get_logger()


class LedgerFenced(ConnectionError):
    """The connection leads to a ledger that does not count; another connection may lead elsewhere.

    A lost connection to everybody who does not ask why.
    """


class LedgerFence:
    """One process' view of which ledger counts."""

    def __init__(
        self,
        redis: Redis,
        length_seconds: float = LEASE_SECONDS,
        *,
        answer_seconds: float = CLAIM_SECONDS,
    ) -> None:
        """`length_seconds`: of the lease; the same in all processes. `answer_seconds`: for how long
        an answer is taken as known; 0: every use of a connection asks.
        """
        self._claim = redis.register_script(load_scripts(LEASES)["claim"].source)
        self._length_seconds = length_seconds
        self._answer_seconds = answer_seconds
        self._counts: LedgerIdentity | None = None
        self._known_until = 0.0
        self._asking = asyncio.Lock()
        # Whom a refusal named, until when: Redis may lose the lease, and does not forget it here.
        self._refused_until = 0.0
        self._is_fenced = False

    @property
    def counts(self) -> LedgerIdentity | None:
        """The ledger that counts, as far as this process was told."""
        return self._counts

    async def guard(self, connection: PoolConnectionProxy) -> None:
        """Called by a pool before each use of a connection. Raises LedgerFenced, and ends the
        connection: the next may lead to the ledger that counts. Raises ConnectionError for a lost
        connection.
        """
        identity = identity_of(connection)
        if identity is None:
            raise TypeError("only a pool that reads identities can be guarded")
        try:
            await self.require(identity)
        except LedgerFenced:
            connection.terminate()
            raise
        if connection.is_closed():
            # The pool would hand it out, and fail when it is given back.
            raise ConnectionError("the connection was lost while Redis was asked")

    async def require(self, identity: LedgerIdentity) -> None:
        """Return where this ledger counts, by an answer that is new enough. Raises LedgerFenced."""
        if self._is_known(identity):
            return
        async with self._asking:
            if self._is_known(identity):
                return
            try:
                await self.claim(identity)
            except LedgerFenced:
                raise
            except (RedisError, InventoryError, OSError, TimeoutError) as error:
                self._rely_on_last(identity, error)

    async def claim(self, identity: LedgerIdentity) -> None:
        """Claim the lease now. Raises LedgerFenced, and what Redis raises while it is away."""
        may_found = time.monotonic() >= self._refused_until
        length_ms = round(self._length_seconds * 1000)
        arguments: list[str | int] = [str(identity), length_ms, int(may_found)]
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            answer = await self._claim(keys=LEDGER_LEASE_KEYS, args=arguments)
        counts = cast("bytes", answer).decode()
        now = time.monotonic()
        self._known_until = now + self._answer_seconds
        if counts:
            self._counts = LedgerIdentity.parse(counts)
        if counts == str(identity):
            self._refused_until = 0.0
            self._note(identity, is_fenced=False)
            return
        if counts:
            self._refused_until = now + self._length_seconds
        self._note(identity, is_fenced=True)
        raise LedgerFenced(f"the ledger {identity} does not count: {self._counts} does")

    def _is_known(self, identity: LedgerIdentity) -> bool:
        return self._counts == identity and time.monotonic() < self._known_until

    def _rely_on_last(self, identity: LedgerIdentity, error: Exception) -> None:
        last = self._counts
        if last is not None and identity != last and not identity.succeeds(last):
            raise LedgerFenced(f"the ledger {identity} does not count: {last} did") from error
        self._counts, self._known_until = identity, time.monotonic() + CLAIM_SECONDS

    def _note(self, identity: LedgerIdentity, *, is_fenced: bool) -> None:
        if is_fenced and not self._is_fenced:
            _log.warning("ledger_fenced", ledger=str(identity), counts=str(self._counts))
        elif self._is_fenced and not is_fenced:
            _log.warning("ledger_accepted", ledger=str(identity))
        self._is_fenced = is_fenced


@asynccontextmanager
async def open_fence(
    settings: RedisSettings, *, answer_seconds: float = CLAIM_SECONDS
) -> AsyncIterator[LedgerFence]:
    """A fence with connections of its own, which no other work makes wait."""
    client = create_reader(settings, connections=CONNECTIONS)
    try:
        yield LedgerFence(client, answer_seconds=answer_seconds)
    finally:
        await client.aclose()
