"""A verdict reads a sale once, however large it is and whatever the planner knows about it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from config.settings import Settings
from loadtest.verdict.ledger import QUERIES, Ledger
from tests.support.sales.judged_sale import JudgedSale

PREPARES = {"create_workspace", "fill_moves", "fill_steps"}
ARRAYS = {"buyer_moves": 1, "answered_state_violations": 2, "answered_deadline_violations": 2,
          "foreign_owner_violations": 2, "lost_reservation_violations": 1,
          "unasked_reservation_violations": 1, "effect_of_refusal_violations": 1}  # fmt: skip


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _looks_up_one_by_one(plan: dict[str, Any]) -> bool:
    """Whether a table is searched once for each row of another."""
    loops = (node for node in _nodes(plan) if node["Node Type"] == "Nested Loop")
    return any(
        "Join Filter" in loop or "Index Cond" in node
        for loop in loops
        for inner in loop["Plans"][1:]
        for node in _nodes(inner)
        if "Relation Name" in node
    )


async def _explained(ledger: Ledger, name: str) -> dict[str, Any]:
    arrays: tuple[object, ...] = ([],) * ARRAYS.get(name, 0)
    given = (0, 1, 1) if name == "event_fingerprints" else arrays
    wanted = ledger._arguments(name, given)
    found = await ledger._connection.fetchval(
        f"EXPLAIN (FORMAT JSON) {QUERIES[name]}", *wanted, timeout=60
    )
    plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan


@pytest.mark.parametrize("as_connected", [True, False])
async def test_no_statement_looks_rows_up_one_by_one(
    settings: Settings, judged_sale: JudgedSale, *, as_connected: bool
) -> None:
    """And the control: with the server's own settings some statements do."""
    async with (
        Ledger.connect(settings.postgres.dsn, judged_sale.sale_id) as ledger,
        ledger.snapshot(),
    ):
        if not as_connected:
            await ledger._connection.execute("SET LOCAL enable_nestloop = on")
        await ledger.prepare()
        found = {
            name
            for name in set(QUERIES._sections) - PREPARES
            if _looks_up_one_by_one(await _explained(ledger, name))
        }
    assert as_connected == (not found), found
