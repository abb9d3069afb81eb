"""What runs in the background reads what it is about, also in a large sale among many sales.

The ledger holds 5,000 sales, one in a hundred of them live, and one live sale has 100,000
reservations. A statement may read FACTOR rows for each row that it returns, changes, is given or is
about by purpose, and READ_BESIDE rows more.
A statement without an entry fails.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from config.queries import Queries
from gateway.admission.waiting_room.checkpoints import QUERIES as CHECKPOINTS
from gateway.inventory.settled.retirement import QUERIES as RETIREMENT
from gateway.relay.queries import QUERIES as RELAY
from loadtest.bench.machine.queries import QUERIES as FILLING
from order_writer.ledger.statements import QUERIES as WRITER
from reconciler.context import QUERIES as RECONCILER
from tests.support.sales.judged_sale import JudgedSale
from tests.support.servers import unique

SALES, LIVE_ONE_IN = 5_000, 100
RESERVATIONS, FIRST, PAGE, EPOCH = 100_000, 1000, 500, 1
END = FIRST + RESERVATIONS - 1
HOUR_MS = 3_600_000
FACTOR, READ_BESIDE = 6, 200
TABLES = ("fill_reservations", "fill_order_lines", "fill_ledger_events")
ALL = RESERVATIONS
BUYERS = [f"buyer-{number:07d}" for number in range(1, PAGE + 1)]
SETTLED = "other-1"
# $1 is how many sales there are, $2: of how many one is live.
FILL_SALES = """
INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key, opens_at, closes_at)
SELECT 'other-' || n, CASE WHEN n % $2 = 0 THEN 'open' ELSE 'settled' END, '{}', 1, 'EUR',
    decode(repeat('00', 32), 'hex'), now() - interval '1 hour', now() + interval '1 hour'
FROM generate_series(1, $1::int) AS n
"""
FILL_BESIDE = """
INSERT INTO watermarks (sale_id, partition, epoch, sequence)
SELECT sale_id, 0, 1, 0 FROM sales WHERE sale_id LIKE 'other-%';
INSERT INTO settlements (sale_id, currency, settled_by, settled_at)
SELECT sale_id, 'EUR', 'ops', now() - interval '1 day' FROM sales WHERE state = 'settled';
INSERT INTO settlement_removals (sale_id) SELECT sale_id FROM settlements;
INSERT INTO settlement_announcements (sale_id) SELECT sale_id FROM settlements;
INSERT INTO audit_log (sale_id, actor, action) SELECT sale_id, 'ops', 'sale_settled' FROM sales;
INSERT INTO reconciliations (sale_id, requested_by, status, balanced, finished_at)
SELECT sale_id, 'ops', 'done', true, now() FROM sales;
INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reservation_id, reason,
    error, raw, status, resolved_at, published_at)
SELECT sale_id, sale_id, 0, 1, 1, sale_id || '.0.x', 'refused', '', '', 'replayed', now(), now()
FROM sales;
"""
# Statements that only add the rows they are given, or read no table: there is nothing to grow.
READS_NOTHING = {
    "probe", "insert_dead_letters", "write_audit", "add_differences", "begin_reconciliation",
    "close_epoch", "close_epoch_anew", "read_as_stored", "read_in_order", "rebuild_in_order",
    "note_announcement", "note_removal", "make_room", "note_revoked",
}  # fmt: skip
Entry = tuple[tuple[object, ...], int]  # arguments, and how many rows the statement is about


def entries(sale: str, ids: list[str]) -> dict[str, dict[str, Entry]]:
    """The arguments of every background statement, for the large sale."""
    place, key, one, until = (sale, 0), ([sale], [0]), ids[:1], (EPOCH, END)
    fingerprint = [b"\x00"]
    writer: dict[str, Entry] = {
        "lock_watermarks": (key, 0),
        "closed_epochs": (key, 0),
        "close_epochs": ((*key, [EPOCH - 1], [0], [""], [EPOCH]), 0),
        "adopt_states": ((*key, ["paused"], [EPOCH], [END + 1]), 0),
        "newest_offsets": ((), SALES),
        "waiting_reservations": (key, 0),
        "blocks": (([sale],), 0),
        "contradicted": ((*key, [EPOCH], [END], fingerprint), 0),
        "fill_void": ((*key, [EPOCH], [END], ["reserve"], one, [0], fingerprint, ["{}"]), 0),
        "shift_deadlines": ((*key, [1000]), ALL),
        "change_reservations": (
            ([sale] * PAGE, ids, *(
                [value] * PAGE
                for value in ("held", "expired", None, None, None, EPOCH, END, 1_700_000_000_000)
            )), 0,
        ),
        "change_order_lines": (
            ([sale] * PAGE, ids, ["shirt"] * PAGE, ["default"] * PAGE, [0] * PAGE, [0] * PAGE), 0,
        ),
        "change_accounts": ((*key, ["shirt"], ["default"], [0], [0], [0], [0]), 0),
        "unequal_accounts": ((*key, ["shirt"], ["default"], [10]), 0),
        "pause_items": (([sale], ["shirt"], [True]), 0),
        "advance_watermarks": ((*key, [EPOCH], [END], fingerprint, [0], ["{}"]), 0),
        "stop_partitions": ((*key, ["reason"]), 0),
        "followed_partitions": ((), 0),
        "record_tails": ((*key, [EPOCH], [END]), 0),
        "requested_replays": ((PAGE,), 0),
        "letters_to_replay": ((1, PAGE), 0),
        "stands_before": ((1,), 0),
        "resolve_letter": ((1, "dead", None), 0),
        "letters_to_publish": ((PAGE,), 0),
        "mark_published": (([1],), 0),
        "count_open_letters": ((), 0),
    }  # fmt: skip
    reconciler: dict[str, Entry] = {
        "accounts_at": ((*place, EPOCH, END - PAGE), PAGE),
        "reservations_at": ((*place, *until), ALL),
        "whole_partition": ((*place, *until), ALL),
        "reservations_by_id": ((ids,), 0),
        "changed_between": ((*place, EPOCH, FIRST, *until, PAGE), 0),
        "known_reservations": ((ids,), 0),
        "buyer_numbers_at": ((*place, BUYERS, EPOCH, END - PAGE, HOUR_MS), PAGE),
        "take_lead": (("me", 5.0), 0),
        "give_up_lead": (("me",), 0),
        "rebuild_sale": ((sale,), 0),
        "paused_items": ((sale,), 0),
        "rebuild_accounts": (place, 0),
        "adjustments": ((*place, PAGE), ALL),
        "return_keys": (place, 0),
        "extend_keys": ((sale, ids), 0),
        "rebuild_counts": (place, ALL),
        "rebuild_records": (place, ALL),
        "reopen_reconciliations": ((60.0,), 0),
        "plan_reconciliations": ((30.0, [sale]), 0),
        "claim_reconciliation": ((), 0),
        "count_imports": ((sale,), 0),
        "reservations_to_compare": ((sale, [0]), ALL),
        "show_progress": ((1, 1, 1, False), 0),
        "restart_differences": ((1,), 0),
        "mark_repaired": ((1, [1]), 0),
        "finish_reconciliation": ((1, "[]", 1, 1), 0),
        "fail_reconciliation": ((1, "recovering"), 0),
        "prune_reconciliations": ((), 0),
        "note_alive": ((*key, [1]), 0),
        "watermark": (place, 0),
        "lock_watermark": (place, 0),
        "open_dead_letters": ((*place, PAGE), 0),
        "newest_closed_epochs": ((*place, 64), 0),
        "repair_records": ((ids,), 0),
        "live_partitions": ((None,), 0),
        "due_sales": ((), 0),
        "add_next_block": ((), 0),
        "seconds_to_next_edge": ((), SALES // LIVE_ONE_IN),
        "settled_with_keys": ((3600.0,), 0),
    }
    relay: dict[str, Entry] = {
        "partitions": ((), 0),
        "unannounced_settlement": (("sale_settled",), 0),
    }
    retirement: dict[str, Entry] = {
        "lock_settlement": ((SETTLED,), 0),
        "positions_of_sale": ((sale,), 0),
        "unsettle_sale": ((SETTLED,), 0),
    }
    checkpoints: dict[str, Entry] = {
        "hold_sale": ((sale,), 0),
        "lock_room": ((sale,), 0),
        "note_made": ((sale,), 0),
        "room": ((sale,), 0),
        "checkpoint": ((sale, 1, 1, 1), 0),
        "note_draw": ((sale, 1), 0),
        "note_control": ((sale, "open", 0), 0),
        "revoked": ((sale,), 0),
    }
    return {
        "order_writer": writer, "reconciler": reconciler, "relay": relay,
        "retirement": retirement, "checkpoints": checkpoints,
    }  # fmt: skip


OBJECTS = {
    "order_writer": WRITER, "reconciler": RECONCILER, "relay": RELAY,
    "retirement": RETIREMENT, "checkpoints": CHECKPOINTS,
}  # fmt: skip


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, the root first."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def rows_read(plan: dict[str, Any]) -> float:
    """The rows that all scans of tables have read, those they threw away too."""
    return float(
        sum(
            (
                each["Actual Rows"]
                + sum(value for name, value in each.items() if name.startswith("Rows Removed"))
            )
            * each["Actual Loops"]
            for each in nodes(plan)
            if "Scan" in each["Node Type"] and "Relation Name" in each
        )
    )


def rows_made(plan: dict[str, Any]) -> float:
    """The rows that a statement returned or changed."""
    changed = sum(
        part["Actual Rows"]
        for each in nodes(plan)
        if each["Node Type"] == "ModifyTable"
        for part in each.get("Plans", ())
        if part.get("Parent Relationship") == "Outer"
    )
    return float(plan["Actual Rows"] + changed)


async def explained(sale: JudgedSale, query: str, arguments: tuple[object, ...]) -> dict[str, Any]:
    """The plan of a statement that ran and was rolled back."""
    transaction = sale.ledger.transaction()
    await transaction.start()
    try:
        found = await sale.ledger.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments, timeout=60
        )
    finally:
        await transaction.rollback()
    plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan


async def fill(sale: JudgedSale) -> list[str]:
    """Fill the ledger; returns the ids of a page of held reservations."""
    await sale.ledger.execute(FILL_SALES, SALES, LIVE_ONE_IN, timeout=60)
    await sale.ledger.execute(FILL_BESIDE, timeout=60)
    for table in TABLES:
        await sale.ledger.execute(FILLING[table], sale.sale_id, RESERVATIONS, FIRST, timeout=120)
    await sale.ledger.execute("ANALYZE", timeout=60)
    rows = await sale.ledger.fetch(
        "SELECT reservation_id FROM reservations WHERE sale_id = $1 AND state = 'held' "
        "ORDER BY accepted_sequence DESC LIMIT $2", sale.sale_id, PAGE,
    )  # fmt: skip
    return [row["reservation_id"] for row in rows]


@pytest.fixture
def sale_id() -> str:
    return unique("large")


def names(queries: Queries) -> set[str]:
    """Every name of an object; nobody but this test asks for all of its names."""
    return set(queries._sections)


@pytest.mark.parametrize("name", OBJECTS)
def test_every_background_statement_has_an_entry(name: str) -> None:
    assert names(OBJECTS[name]) - READS_NOTHING == set(entries("sale", ["id"])[name])


async def test_a_statement_that_reads_a_row_for_each_sale_is_found(judged_sale: JudgedSale) -> None:
    await judged_sale.ledger.execute(FILL_SALES, SALES, LIVE_ONE_IN, timeout=60)
    query = "SELECT sale_id FROM sales WHERE spec ->> 'hold_seconds' = '7'"
    assert rows_read(await explained(judged_sale, query, ())) > FACTOR + READ_BESIDE


async def test_background_statements_read_what_they_are_about(judged_sale: JudgedSale) -> None:
    ids = await fill(judged_sale)
    block = await judged_sale.ledger.fetchval(
        "SELECT block FROM sales WHERE sale_id = $1", judged_sale.sale_id
    )
    guilty = []
    for process, statements in entries(judged_sale.sale_id, ids).items():
        for name, (arguments, about) in statements.items():
            query = OBJECTS[process][name]
            if "{block}" in query:
                query = query.format(block=block)
            plan = await explained(judged_sale, query, arguments)
            given = max((len(each) for each in arguments if isinstance(each, list)), default=0)
            allowed = FACTOR * (rows_made(plan) + given + about) + READ_BESIDE
            if rows_read(plan) > allowed:
                guilty.append(f"{process}.{name}: {rows_read(plan):,.0f} > {allowed:,.0f}")
    assert "\n".join(guilty) == ""
