"""Which ledger a connection leads to: the system that its data belong to, and their timeline.

A promotion begins a new timeline, and ends no connection of the primary that it replaces. A server
keeps both for as long as it runs as a primary, so they are read once for each connection.
"""

from dataclasses import dataclass
from pathlib import Path

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from config.queries import Queries

QUERIES = Queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """`system_identifier`: made by initdb, shared by all copies. `timeline`: counts promotions and
    recoveries to a point in time.
    """

    system_identifier: int
    timeline: int

    def __str__(self) -> str:
        """`system/timeline`, as the lease in Redis has it."""
        return f"{self.system_identifier}/{self.timeline}"

    @classmethod
    def parse(cls, text: str) -> "LedgerIdentity":
        """The identity that `str` renders. Raises ValueError for any other text."""
        system_identifier, _, timeline = text.partition("/")
        return cls(int(system_identifier), int(timeline))

    def succeeds(self, other: "LedgerIdentity") -> bool:
        """Whether this is a promoted copy of `other`."""
        return self.system_identifier == other.system_identifier and self.timeline > other.timeline


class IdentifiedConnection(asyncpg.Connection):
    """A connection that knows its ledger."""

    identity: LedgerIdentity | None = None


async def read_identity(connection: asyncpg.Connection | PoolConnectionProxy) -> LedgerIdentity:
    """The identity of the primary behind the connection. Raises PostgresError on a standby."""
    text = await connection.fetchval(QUERIES["ledger_identity"])
    return LedgerIdentity.parse(text)


def identity_of(connection: asyncpg.Connection | PoolConnectionProxy) -> LedgerIdentity | None:
    """What was read when the connection was made; None on a connection that nobody guards."""
    found = getattr(connection, "identity", None)
    return found if isinstance(found, LedgerIdentity) else None
