"""All of a partition in one pass: linear in its reservations, bounded in memory.

One cursor gives the ledger's rows in the order of the buyers, so that a buyer's reservations follow
each other, and records and buyers' numbers are compared on the way. The rows of a reservation are
made into the record that Redis should have; where the bytes are equal, nothing is decoded. What
differs is suspected: the sale goes on meanwhile, so a suspect is looked at again before it counts.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import asyncpg
import msgspec
from asyncpg.cursor import Cursor

from gateway.inventory.types import ReservationState
from reconciler.comparing.ledger_records import FACTS, Line, record_of, token_of
from reconciler.comparing.paging import Scope
from reconciler.comparing.reading import (
    ADMISSION,
    GIVEN_BACK,
    UNPAID,
    UNPAID_WINDOW,
    Stored,
    numbers_of,
    read_stored,
    read_unpaid_window_ms,
)
from reconciler.context import QUERIES

ROWS_FETCHED = 2000
# Pages that are compared while the next is made.
PAGES_UNDER_WAY = 2
READ_TIMEOUT_SECONDS = 120.0
HELD = ReservationState.HELD.value
# Columns of `whole_partition` beside those that ledger_records.py names.
ID, STATE, BUYER, UPDATED_MS, ADMISSION_SPENT = 0, 1, 8, -2, -1

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Suspects:
    """Tokens and buyers of a page that differ at first sight; the page had `seen` reservations."""

    tokens: tuple[str, ...]
    buyers: tuple[str, ...]
    seen: int


async def suspects_of_partition(
    scope: Scope, item_of: Mapping[int, int]
) -> AsyncGenerator[Suspects, None]:
    """What has to be looked at again of all reservations and buyers, page by page.

    `item_of` gives the number of an account's item by the number of the account.
    """
    under_way: list[asyncio.Task[Suspects]] = []
    try:
        async with aclosing(_pages(scope, item_of)) as pages:
            async for page in pages:
                if len(under_way) == PAGES_UNDER_WAY:
                    yield await under_way.pop(0)
                under_way.append(asyncio.create_task(_compare(scope, page)))
            while under_way:
                yield await under_way.pop(0)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


@dataclass(slots=True)
class _Page:
    """Reservations and buyers that are compared with one reading of Redis.

    `rows` by token: a reservation's first row, and its lines. `numbers` by buyer: what the ledger
    implies, by the keys of lua/include/record.lua. `buyer`: whose reservations come now.
    """

    unpaid_window_ms: int
    rows: dict[str, tuple[asyncpg.Record, list[Line]]] = field(default_factory=dict)
    numbers: dict[str, dict[int, int]] = field(default_factory=dict)
    buyer: str | None = None

    def add(
        self, token: str, row: asyncpg.Record, lines: list[Line], items: Mapping[int, int]
    ) -> None:
        """One reservation of the buyer whose turn it is, or of the next buyer."""
        self.rows[token] = (row, lines)
        buyer: str = row[BUYER]
        if buyer != self.buyer:
            self.buyer = buyer
            self.numbers[buyer] = {}
        numbers, state = self.numbers[buyer], row[STATE]
        if state in {"cancelled", "expired"}:
            numbers[GIVEN_BACK] = numbers.get(GIVEN_BACK, 0) + 1
            self._count_unpaid(numbers, row[UPDATED_MS])
        else:
            for account, reserved, confirmed, returned in lines:
                units = confirmed - returned if state == "confirmed" else reserved
                if units:
                    item = items[account]
                    numbers[item] = numbers.get(item, 0) + units
        spent = row[ADMISSION_SPENT]
        if spent is not None:
            numbers[ADMISSION] = max(numbers.get(ADMISSION, 0), spent)

    def _count_unpaid(self, numbers: dict[int, int], given_back_ms: int) -> None:
        """As `count_unpaid` of lua/include/reservation.lua."""
        if self.unpaid_window_ms == 0:
            return
        window, known = given_back_ms // self.unpaid_window_ms, numbers.get(UNPAID_WINDOW, 0)
        if window > known:
            numbers[UNPAID_WINDOW], numbers[UNPAID] = window, 1
        elif window == known and window:
            numbers[UNPAID] += 1

    def next_page(self, buyer: str) -> "_Page":
        """An empty page; a buyer whose reservations go on takes the numbers along."""
        if buyer != self.buyer:
            return _Page(self.unpaid_window_ms)
        return _Page(self.unpaid_window_ms, numbers={buyer: self.numbers.pop(buyer)}, buyer=buyer)


async def _pages(scope: Scope, items: Mapping[int, int]) -> AsyncGenerator[_Page, None]:
    window_ms = await read_unpaid_window_ms(scope.context.reader, scope.partition)
    page, row, lines = _Page(window_ms), None, list[Line]()
    async with aclosing(_rows(scope)) as fetched:
        async for rows in fetched:
            for following in rows:
                if row is not None and following[ID] == row[ID]:
                    lines.append(following[FACTS : FACTS + 4])
                    continue
                if row is not None:
                    page.add(token_of(scope.partition, row[ID]), row, lines, items)
                    if len(page.rows) >= scope.page_size:
                        full, page = page, page.next_page(following[BUYER])
                        yield full
                row = following
                # A reservation without lines is none that Redis has: its record is not equal.
                lines = [] if row[FACTS] is None else [row[FACTS : FACTS + 4]]
    if row is not None:
        page.add(token_of(scope.partition, row[ID]), row, lines, items)
        yield page


async def _rows(scope: Scope) -> AsyncGenerator[list[asyncpg.Record], None]:
    """The cursor's rows; the next ones are fetched while these are worked on."""
    place = (scope.partition.sale_id, scope.partition.number)
    until = (scope.until.epoch, scope.until.sequence)

    def fetching(cursor: Cursor) -> asyncio.Future[list[asyncpg.Record]]:
        return asyncio.ensure_future(cursor.fetch(ROWS_FETCHED, timeout=READ_TIMEOUT_SECONDS))

    async with (
        scope.context.ledger.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        cursor = await connection.cursor(
            QUERIES["whole_partition"], *place, *until, timeout=READ_TIMEOUT_SECONDS
        )
        coming = fetching(cursor)
        try:
            while rows := await coming:
                coming = fetching(cursor)
                yield rows
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _compare(scope: Scope, page: _Page) -> Suspects:
    buyers = list(page.numbers)
    stored = await read_stored(scope.context.reader, scope.partition, list(page.rows), buyers)
    unequal = tuple(
        buyer
        for buyer, raw in zip(buyers, stored.buyers, strict=True)
        if (numbers_of(raw) if raw else {}) != page.numbers[buyer]
    )
    return Suspects(tuple(_unequal_records(page, stored)), unequal, len(page.rows))


def _unequal_records(page: _Page, stored: Stored) -> list[str]:
    unequal = []
    shift_ms = -stored.shift_ms
    fields = zip(page.rows.items(), stored.records, stored.deadlines, strict=True)
    for (token, (row, lines)), raw, indexed in fields:
        record = record_of(row, lines, shift_ms)
        deadline = record.deadline if record.state == HELD else None
        # The keys of returns and of extensions are in the events alone: a record that keeps any is
        # always looked at again.
        returned = any(line[3] for line in lines)
        if raw is None or returned or indexed != deadline or _encode(record) != raw:
            unequal.append(token)
    return unequal
