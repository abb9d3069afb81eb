"""The ledger as the checkers see it: one connection, one transaction, one snapshot."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import asyncpg
import msgspec
from asyncpg import Record

from config.queries import Queries
from loadtest.verdict.log.order import Step
from loadtest.verdict.partition_view import Position

STATEMENT_TIMEOUT_SECONDS = 120.0
CONNECT_TIMEOUT_SECONDS = 10.0

# A verdict reads all of a sale: the server's own bounds are for short statements, and rows that are
# looked up one by one in tables without statistics make a large sale's verdict quadratic.
_SERVER_SETTINGS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_SECONDS:.0f}s",
    "enable_nestloop": "off",
}

QUERIES = Queries(Path(__file__).with_name("queries.sql"))


class SaleItem(msgspec.Struct, frozen=True):
    """The fields of an item that the verdict needs; others are ignored."""

    sku: str
    stock: int | None = None
    locations: dict[str, int] = {}

    @property
    def units(self) -> int:
        """Units of this item that the sale began with."""
        return self.stock if self.stock is not None else sum(self.locations.values())


class _Spec(msgspec.Struct, frozen=True):
    items: tuple[SaleItem, ...]
    waiting_room: Any = None


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale as the ledger has it."""

    sale_id: str
    state: str
    partitions: int
    hash_key: bytes
    items: tuple[SaleItem, ...]
    has_waiting_room: bool


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far the ledger has applied a partition."""

    partition: int
    position: Position
    stopped_reason: str | None


class UnknownSaleError(LookupError):
    """The ledger knows no such sale."""


class Ledger:
    """Named queries about one sale."""

    def __init__(self, connection: "asyncpg.Connection[Record]", sale_id: str) -> None:
        """Ask through this connection."""
        self._connection = connection
        self._sale_id = sale_id

    @classmethod
    @asynccontextmanager
    async def connect(cls, dsn: str, sale_id: str) -> AsyncIterator[Self]:
        """A connection of its own, closed at the end."""
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            server_settings=_SERVER_SETTINGS,
        )
        try:
            yield cls(connection, sale_id)
        finally:
            await connection.close()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Everything asked inside sees the database at one moment; nothing is kept."""
        transaction = self._connection.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    async def prepare(self) -> None:
        """Fold the events from zero into `moves` and `steps`; inside a snapshot, once."""
        await self._connection.execute(QUERIES["create_workspace"])
        await self._connection.execute(QUERIES["fill_moves"], self._sale_id)
        await self._connection.execute(QUERIES["fill_steps"], self._sale_id)

    async def rows(self, name: str, *args: object) -> list[Record]:
        """Rows of a section; the sale is its first argument where it takes one."""
        return await self._connection.fetch(QUERIES[name], *self._arguments(name, args))

    async def row(self, name: str, *args: object) -> Record:
        """The only row of a section."""
        row = await self._connection.fetchrow(QUERIES[name], *self._arguments(name, args))
        if row is None:
            raise UnknownSaleError(f"{name} has no row for sale {self._sale_id}")
        return row

    async def violations(self, *names: str, args: Sequence[object] = ()) -> list[str]:
        """Texts of all violations these sections find."""
        found: list[str] = []
        for name in names:
            found.extend(row[0] for row in await self.rows(name, *args))
        return found

    def _arguments(self, name: str, args: Sequence[object]) -> tuple[object, ...]:
        return (self._sale_id, *args) if "$1" in QUERIES[name] else tuple(args)

    async def sale(self) -> Sale:
        """The sale; raises UnknownSaleError."""
        row = await self.row("sale")
        spec = msgspec.json.decode(row["spec"], type=_Spec)
        return Sale(
            sale_id=self._sale_id,
            state=row["state"],
            partitions=row["partitions"],
            hash_key=row["hash_key"],
            items=spec.items,
            has_waiting_room=spec.waiting_room is not None,
        )

    async def watermarks(self) -> dict[int, Watermark]:
        """By partition; empty before the sale is first opened."""
        return {
            row["partition"]: Watermark(
                row["partition"],
                Position(row["epoch"], row["sequence"]),
                row["stopped_reason"],
            )
            for row in await self.rows("watermarks")
        }

    async def steps(self) -> tuple[Step, ...]:
        """The events of reservations, in the order of the log; after `prepare`."""
        return tuple(
            Step((row["epoch"], row["sequence"]), row["type"], row["reservation_id"])
            for row in await self.rows("reservation_steps")
        )

    async def epochs(self) -> tuple[int, ...]:
        """The epochs that the log has events of."""
        return tuple(row["epoch"] for row in await self.rows("epochs"))
