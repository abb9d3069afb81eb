"""`dropgate top`: what it makes of readings, and how the commands show answers on a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from config.commands.operations.pace import pace_between
from config.commands.operations.top import sparkline, view
from config.commands.operations.views import reconciliation_view, sale_view


def shown(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def figures(second: int, accepted: int, counts: list[int], **refused: int) -> dict[str, Any]:
    return {
        "sale_id": "shoes",
        "state": "open",
        "read_at": f"2026-11-21T12:50:{second:02}.000Z",
        "items": [
            {"sku": "shoe", "available": 2, "held": 2, "sold": 4, "paused": False},
            {"sku": "sock", "available": 0, "held": 0, "sold": 0, "paused": True},
        ],
        "gateway": {
            "accepted": accepted,
            "refused": refused,
            "reserve_latency": {"bounds_ms": [1, 5], "counts": counts},
        },
        "waiting_room": {
            "mode": "paused",
            "waiting": 1200,
            "admitted": 30,
            "max_active_buyers": 50,
            "outflow": 4.25,
            "rate": 10.0,
        },
        "pipeline": {
            "outbox_length": 9,
            "ledger_lag_events": 3,
            "ledger_lag_seconds": 0.25,
            "drift": None,
            "dead_letters": 1,
            "recovering": True,
            "stopped": False,
        },
    }


def test_a_pace_is_what_changed_between_two_readings() -> None:
    pace = pace_between(
        figures(10, 100, [50, 50, 0], sold_out=5, limit_exceeded=1),
        figures(12, 300, [149, 150, 1], sold_out=25, limit_exceeded=1, rate_limited=2),
    )
    assert pace is not None
    assert pace.accepted == 100
    assert pace.refused == {"sold_out": 10, "rate_limited": 1}
    assert pace.percentiles_ms == {0.5: 5, 0.99: 5}


def test_a_percentile_beyond_the_histogram_is_said_to_be_so() -> None:
    pace = pace_between(figures(10, 0, [0, 0, 0]), figures(11, 2, [0, 0, 2]))
    assert pace is not None
    assert pace.percentiles_ms == {0.5: float("inf"), 0.99: float("inf")}


@pytest.mark.parametrize(
    ("second", "accepted"), [(10, 100), (12, 99)], ids=["same moment", "counters begun anew"]
)
def test_there_is_no_pace_between_readings_that_cannot_be_compared(
    second: int, accepted: int
) -> None:
    before = figures(10, 100, [1, 0, 0])
    assert pace_between(before, figures(second, accepted, [1, 0, 0])) is None


def test_the_screen_shows_stock_rates_and_what_is_wrong() -> None:
    text = shown(view([figures(10, 0, [0, 0, 0]), figures(11, 8, [8, 0, 0], sold_out=40)]))
    for part in ("shoes open", "sock (paused)", "▇" * 12 + "▒" * 6 + "·" * 6, "sold_out", "40.0"):
        assert part in text, part
    assert "waiting 1,200   admitted 30 of 50   called 4.2 of at most 10.0 a second" in text
    assert "drift unknown" in text
    assert "RECOVERING" in text
    assert "STOPPED" not in text


def test_what_cannot_be_read_is_not_shown_as_zero() -> None:
    text = shown(
        view([{**figures(10, 0, [0, 0, 0]), "items": None, "waiting_room": None, "pipeline": None}])
    )
    assert "no stock to show" in text
    assert "0 " not in text.replace("12:50:10", "")


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([0.0, 5.0, 10.0]) == "▁▅█"
    assert sparkline([0.0, 0.0]) == "▁▁"


def test_a_sale_and_a_comparison_are_tables_on_a_terminal() -> None:
    item = {"sku": "shoe", "name": "Shoe", "price": {"amount": 14900, "currency": "EUR"}}
    counters = {"sku": "shoe", "available": 7, "held": 2, "sold": 1}
    sale = {
        "sale_id": "shoes", "state": "open", "version": 3, "hold_seconds": 60,
        "items": [item], "snapshot": {"items": [counters]},
    }  # fmt: skip
    text = shown(sale_view(sale))
    for part in ("shoes open", "hold 60 s", "14,900 EUR", "7", "available"):
        assert part in text, part
    difference = {
        "kind": "counter", "sku": "shoe", "location": "default", "reservation_id": None,
        "field": "available", "redis_value": "8", "ledger_value": "7", "repaired": False,
    }  # fmt: skip
    watermarks = [{"partition": 0, "epoch": 1, "sequence": 9}]
    rebuild = {
        "partition": 0, "previous_epoch": 1, "previous_sequence": 7,
        "rebuilt_at": "2026-11-21T12:50:53.312Z",
    }  # fmt: skip
    told = {"watermarks": watermarks, "rebuilds": [rebuild]}
    answer = {"balanced": False, "differences": [difference], **told}
    text = shown(reconciliation_view(answer))
    for part in ("1 differences at 0:1-9", "shoe:default", "available", "after 1-7 is lost"):
        assert part in text, part
    assert "agree at 0:1-9" in shown(
        reconciliation_view({"balanced": True, "watermarks": watermarks, "rebuilds": []})
    )
