"""The part `growth`: sizes, curves as ratios to the smallest size, and targets held to them."""

from pathlib import Path

import msgspec
import pytest

from loadtest.bench.engine.partition import load_argument, single
from loadtest.bench.growth import ledger_sales, live_sales, redis_calls
from loadtest.bench.growth.levels import scaled, setting_of
from loadtest.bench.growth.redis_calls import parse_us_per_call
from loadtest.bench.parts.growth import GROWTH, LINES, SKUS
from loadtest.bench.report.charts import draw_charts
from loadtest.bench.results.curves import curve_of, size_of
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import Row

SMALL, LARGE = setting_of(1, "SKU"), setting_of(1_000, "SKU")


def skus(*rounds: tuple[float, float]) -> Results:
    """Redis' CPU at 1 and at 1,000 SKUs, round by round."""
    results = Results()
    for number, values in enumerate(rounds, start=1):
        for setting, value in zip((SMALL, LARGE), values, strict=True):
            results.add(SKUS.part, SKUS.contestant, setting, number, redis_cpu_us=value)
    return results


def row(results: Results, what: str) -> Row:
    (found,) = [one for one in GROWTH.rows(results) if what in one.what]
    return found


def test_sizes_shrink_with_the_scale_and_each_is_there_once() -> None:
    assert scaled((1, 10, 100, 1_000), 1.0) == (1, 10, 100, 1_000)
    assert scaled((1, 10, 100, 1_000), 0.02) == (1, 2, 20)


@pytest.mark.parametrize(
    ("setting", "size"),
    [(SMALL, 1), (LARGE, 1_000), ("60,000 reservations", 60_000), ("always", None), ("", None)],
)
def test_the_size_of_a_point_is_read_from_its_name(setting: str, size: int | None) -> None:
    assert size_of(setting) == size


def test_a_curve_is_a_ratio_to_its_smallest_size() -> None:
    curve = curve_of(skus((100.0, 110.0), (100.0, 130.0), (100.0, 120.0)), SKUS)
    assert curve is not None
    assert curve.ratios() == [(1, 1.0, 1.0, 1.0), (1_000, 1.2, 1.1, 1.3)]


def test_a_curve_goes_by_size_whatever_the_order_of_measuring() -> None:
    results = Results()
    for size in (64, 1, 16):
        setting = setting_of(size, "line")
        results.add(LINES.part, LINES.contestant, setting, 1, redis_cpu_us=float(size))
    curve = curve_of(results, LINES)
    assert curve is not None
    assert [size for size, *_ in curve.ratios()] == [1, 16, 64]


def test_one_point_or_a_first_point_of_nothing_makes_no_curve() -> None:
    results = Results()
    results.add(SKUS.part, SKUS.contestant, SMALL, 1, redis_cpu_us=0.0)
    assert curve_of(results, SKUS) is None
    results.add(SKUS.part, SKUS.contestant, LARGE, 1, redis_cpu_us=5.0)
    assert curve_of(results, SKUS) is None


def test_the_target_of_many_skus_is_held_against_the_rounds_own_ratios() -> None:
    # In round 2 the machine was three times as slow: its ratio does not show it.
    met = row(skus((100.0, 120.0), (300.0, 360.0)), "by SKUs")
    assert (met.reached, met.target, met.verdict) == (1.2, 1.3, "met")
    assert met.against == "1,000 SKUs against 1 SKU"
    assert row(skus((100.0, 260.0)), "by SKUs").verdict == "missed by 100%"


@pytest.mark.parametrize(
    ("contestant", "what"),
    [(ledger_sales.RESERVES, "CPU of a reserve"), (ledger_sales.CONFIRMS, "CPU of a confirm")],
)
def test_ten_thousand_sales_may_cost_the_ledger_a_tenth_more(contestant: str, what: str) -> None:
    results = Results()
    results.add(ledger_sales.PART, contestant, "1 sale", 1, cpu_us=50.0)
    results.add(ledger_sales.PART, contestant, "10,000 sales", 1, cpu_us=55.0)
    assert row(results, what).verdict == "met"
    results.add(ledger_sales.PART, contestant, "1 sale", 2, cpu_us=50.0)
    results.add(ledger_sales.PART, contestant, "10,000 sales", 2, cpu_us=66.0)
    assert row(results, what).verdict == "missed by 10%"


def test_the_slow_openings_and_scrapes_of_the_largest_size_are_judged() -> None:
    results = Results()
    opening, scrape = (
        (ledger_sales.PART, ledger_sales.OPENING),
        (live_sales.PART, "scrape of /metrics"),
    )
    results.add(*opening, "1 sale", 1, p50_ms=9.0, p99_ms=500.0)
    results.add(*opening, "10,000 sales", 1, p50_ms=20.0, p99_ms=75.0)
    results.add(*scrape, "1,000 live sales", 1, p50_ms=8.0, p99_ms=150.0)
    late, quick = row(results, "opening a sale"), row(results, "scrape")
    assert (late.against, late.verdict, late.note) == (
        "10,000 sales",
        "missed by 50%",
        "p50 20.0 ms",
    )
    assert quick.verdict == "met"


def test_what_has_no_target_is_for_comparison() -> None:
    results = Results()
    results.add(live_sales.PART, live_sales.IDLE, "1 live sale", 1, redis_percent=0.4)
    results.add(live_sales.PART, live_sales.IDLE, "1,000 live sales", 1, redis_percent=6.0)
    share = row(results, "CPU of redis")
    assert (share.reached, share.note) == (6.0, "0.40 % at 1 live sale")
    assert share.verdict == "for comparison"


def test_curves_are_drawn_with_what_they_begin_and_end_with(tmp_path: Path) -> None:
    (drawn,) = draw_charts(skus((100.0, 110.0), (100.0, 0.0)), tmp_path)
    assert drawn.name == "growth_redis.svg"
    assert "SKUs of the sale: 100 to 55.0 µs" in drawn.read_text()


def test_a_sale_of_many_skus_and_places_is_loaded_as_the_script_takes_it() -> None:
    config = msgspec.msgpack.decode(load_argument("sale", 5, 1_000, skus=2, locations=3))
    items, accounts = config[9], config[10]
    assert [item[5] for item in items] == [[1, 2, 3], [4, 5, 6]]
    assert accounts[3] == ["BENCH-2", "default", 2, 5]
    assert len({(sku, place) for sku, place, *_ in accounts}) == 6


def test_a_request_of_many_lines_names_each_item_once() -> None:
    lines = redis_calls.REQUEST_LINES.lines(4, 0)
    ((_, _, _, _, packed, *_),) = msgspec.msgpack.decode(single(7, lines))
    assert packed == [1, 0, 1, 2, 0, 1, 3, 0, 1, 4, 0, 1]


def test_the_time_of_a_call_is_read_from_redis_own_statistics() -> None:
    info = "# Commandstats\r\ncmdstat_evalsha:calls=2,usec=300,usec_per_call=150.50\r\n"
    assert parse_us_per_call(info, "evalsha") == 150.5
    assert parse_us_per_call(info, "get") == 0.0
