"""What a comparison reads of the ledger grows with what it returns, and not with its square.

Plans are looked at with real sizes and without statistics, as in a sale that has just sold out: a
plan made for an empty table reads a whole sale for each page.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from loadtest.bench.machine.queries import QUERIES as FILLING
from reconciler.context import QUERIES
from tests.support.sales.judged_sale import JudgedSale
from tests.support.servers import unique

RESERVATIONS = 20_000
FIRST = 1000  # above every number of the small sale's own events
PAGE = 500
EPOCH = 1
END = FIRST + RESERVATIONS - 1
HOUR_MS = 3_600_000
TABLES = ("fill_reservations", "fill_order_lines", "fill_ledger_events")
# A reservation may be read in its table and in an index before it, with its line and its account.
READ_FOR_EACH = 6
# The small sale's own reservations, accounts and letters.
READ_BESIDE = 200


@dataclass(frozen=True)
class Statement:
    """A statement of a comparison: what it is asked, and how many reservations it is about."""

    name: str
    arguments: tuple[object, ...]
    about: int


BUYERS = [f"buyer-{number:07d}" for number in range(1, PAGE + 1)]
STATEMENTS = (
    Statement("accounts_at", (EPOCH, END - PAGE), PAGE),
    Statement("reservations_at", (EPOCH, END), RESERVATIONS),
    Statement("whole_partition", (EPOCH, END), RESERVATIONS),
    Statement("changed_between", (EPOCH, END - 2 * PAGE, EPOCH, END, PAGE), PAGE),
    Statement("changed_between", (EPOCH, FIRST, EPOCH, END, PAGE), PAGE),
    Statement("buyer_numbers_at", (BUYERS, EPOCH, END - PAGE, HOUR_MS), 3 * PAGE),
)


@pytest.fixture
def sale_id() -> str:
    return unique("grown")


@pytest_asyncio.fixture
async def grown(judged_sale: JudgedSale) -> AsyncIterator[JudgedSale]:
    """The sale with many more reservations; none of its tables was ever analyzed since."""
    for table in TABLES:
        await judged_sale.ledger.execute(
            FILLING[table], judged_sale.sale_id, RESERVATIONS, FIRST, timeout=60
        )
    yield judged_sale


def rows_of(plan: dict[str, Any]) -> Iterator[float]:
    """The rows that each scan of a plan has read, those it threw away too."""
    if "Scan" in plan["Node Type"] and "Relation Name" in plan:
        thrown = sum(value for name, value in plan.items() if name.startswith("Rows Removed"))
        yield (plan["Actual Rows"] + thrown) * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from rows_of(part)


async def rows_read(sale: JudgedSale, query: str, *arguments: object) -> float:
    explained = await sale.ledger.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
    return sum(rows_of(json.loads(explained)[0]["Plan"]))


async def test_a_comparison_reads_what_it_is_about(grown: JudgedSale) -> None:
    place = (grown.sale_id, grown.partition.number)
    read = [
        (each.name, each.about, await rows_read(grown, QUERIES[each.name], *place, *each.arguments))
        for each in STATEMENTS
    ]
    rows = await grown.ledger.fetch(
        "SELECT reservation_id FROM reservations WHERE sale_id = $1 AND buyer_id = ANY($2)",
        grown.sale_id,
        BUYERS,
    )
    ids = [row["reservation_id"] for row in rows]
    read += [
        (name, PAGE, await rows_read(grown, QUERIES[name], ids))
        for name in ("reservations_by_id", "known_reservations")
    ]
    over = [one for one in read if one[2] > READ_FOR_EACH * one[1] + READ_BESIDE]
    assert over == []


async def test_a_statement_that_reads_the_whole_sale_for_a_page_is_found(
    grown: JudgedSale,
) -> None:
    page = "SELECT reservation_id FROM reservations WHERE sale_id = $1 ORDER BY fingerprint LIMIT 5"
    assert await rows_read(grown, page, grown.sale_id) > READ_FOR_EACH * 5 + READ_BESIDE
