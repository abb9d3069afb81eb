import msgspec
import pytest

from loadtest.bench.designs.design import Audit
from loadtest.bench.engine.rates import parse_redis_benchmark
from loadtest.bench.machine.cpu import parse_stat
from loadtest.bench.machine.facts import Facts, cpu_model, memory_gib
from loadtest.bench.parts.http import HTTP
from loadtest.bench.parts.verdicts import judge
from loadtest.bench.report.page import all_grids, json_lines, markdown, target_rows
from loadtest.bench.results.measurements import Measurement, Results, percentile, summarize
from loadtest.bench.results.rows import Row, paired_ratio
from loadtest.bench.results.tables import Grid, number
from loadtest.bench.results.verdicts import Verdict

FACTS = Facts("a cpu", 2, 24.0, "6.1", "3.11.7", "7.0.15", "18.0", "wrk 4.1", "fsync", 0.1)


def results_of(**rates: list[float]) -> Results:
    results = Results()
    for contestant, values in rates.items():
        for round_number, value in enumerate(values, start=1):
            results.add("http", contestant, "64 buyers", round_number, per_second=value)
    return results


def test_rounds_come_to_a_median_and_a_spread() -> None:
    rounds = [Measurement("p", "c", "s", n, "m", value) for n, value in enumerate([3.0, 1.0, 2.0])]
    (summary,) = summarize(rounds)
    assert (summary.median, summary.least, summary.most, summary.rounds) == (2.0, 1.0, 3.0, 3)


def test_summaries_keep_the_order_of_appearance_and_tell_metrics_apart() -> None:
    results = Results()
    results.add("p", "b", "s", 1, x=1.0, y=2.0)
    results.add("p", "a", "s", 1, x=3.0)
    assert [(s.contestant, s.metric) for s in results.summaries()] == [
        ("b", "x"),
        ("b", "y"),
        ("a", "x"),
    ]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.99, 7.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_ratio_pairs_the_rounds() -> None:
    # The machine was twice as slow in round 2: the ratio does not show it.
    results = results_of(dropgate_1=[80.0, 40.0, 90.0], echo=[100.0, 50.0, 100.0])
    over, under = ("dropgate_1", "64 buyers", "per_second"), ("echo", "64 buyers", "per_second")
    assert paired_ratio(results, "http", over, under) == (0.8, 0.8, 0.9)


def test_a_ratio_of_an_even_number_of_rounds_is_their_middle() -> None:
    results = results_of(dropgate_1=[1.0, 3.0], echo=[1.0, 1.0])
    over, under = ("dropgate_1", "64 buyers", "per_second"), ("echo", "64 buyers", "per_second")
    assert paired_ratio(results, "http", over, under) == (2.0, 1.0, 3.0)


def test_a_ratio_needs_both_sides_in_one_round() -> None:
    results = results_of(dropgate_1=[1.0], echo=[0.0])
    over, under = ("dropgate_1", "64 buyers", "per_second"), ("echo", "64 buyers", "per_second")
    assert paired_ratio(results, "http", over, under) is None


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("w", "a", 2.0, "x", 2.0), "met"),
        (Row("w", "a", 2.0, "x", 1.5), "missed by 25%"),
        (Row("w", "a", 300.0, "bytes", 330.0, at_least=False), "missed by 10%"),
        (Row("w", "a", 300.0, "bytes", 299.0, at_least=False), "met"),
        (Row("w", "a", 2.0, "x", None), "not measured"),
        (Row("w", "a", 0.0, "x", 0.4), "for comparison"),
    ],
)
def test_a_row_says_whether_its_target_is_met(row: Row, verdict: str) -> None:
    assert row.verdict == verdict


def test_rows_that_were_not_measured_say_so() -> None:
    assert {row.verdict for row in target_rows(Results())} == {"not measured"}


def test_a_run_of_one_part_lists_the_targets_of_that_part_alone() -> None:
    rows = target_rows(Results(), ["rebuild"])
    assert [row.what for row in rows] == ["rebuild of 1,000,000 reservations from the ledger"]


def test_the_best_design_on_postgres_alone_is_the_one_compared_with() -> None:
    results = results_of(postgres_conditional=[10.0], postgres_skip_locked=[20.0])
    results.add("http", "dropgate_1_ledger", "64 buyers", 1, ledger_per_second=120.0)
    (row,) = [row for row in target_rows(results) if "through to the ledger" in row.what]
    assert row.against == "best of Postgres alone (postgres_skip_locked)"
    assert (row.reached, row.verdict) == (6.0, "met")


def test_the_lag_row_takes_the_highest_rate_within_a_second() -> None:
    results = Results()
    for rate, lag in ((5_000.0, 80.0), (10_050.0, 700.0), (12_000.0, 4_000.0)):
        results.add("ledger", "c", str(rate), 1, accepted_per_second=rate, lag_p99_ms=lag)
    (row,) = [row for row in target_rows(results) if "ledger p99" in row.what]
    assert (row.reached, row.verdict) == (10_050.0, "met")


def test_the_overload_rows_compare_with_the_same_rounds_capacity() -> None:
    results, contestant = Results(), "dropgate, 1 worker"
    for round_number, (capacity, left) in enumerate(
        ((10_000.0, 9_000.0), (5_000.0, 3_500.0)), start=1
    ):
        results.add("overload", contestant, "capacity", round_number, accepted_per_second=capacity)
        results.add(
            "overload", contestant, "ten times as much", round_number,
            accepted_per_second=left, p99_ms=900.0,
        )  # fmt: skip
    goodput, late = [row for row in target_rows(results) if row.reached is not None]
    assert (goodput.reached, goodput.note) == (0.8, "0.70 to 0.90")
    assert (late.reached, late.verdict) == (900.0, "met")


def test_the_absolute_engine_row_is_scaled_by_what_decr_gives() -> None:
    results = Results()
    for name, rate in (("one by one, pipelined", 50_000.0), ("batch of 64", 90_000.0)):
        results.add("engine", name, "always", 1, per_second=rate)
    results.add("engine", "redis-benchmark DECR -P 16", "always", 1, per_second=600_000.0)
    ratio, absolute = [row for row in target_rows(results) if row.reached is not None]
    assert (ratio.reached, ratio.verdict) == (1.8, "met")
    assert (absolute.target, absolute.verdict) == (50_000.0, "met")


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (99.94, "99.9"), (9.876, "9.88"), (0.0, "0.00")]
)
def test_numbers_are_shown_with_the_digits_that_tell(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_has_a_line_for_each_contestant_and_a_column_for_each_metric() -> None:
    results = results_of(redis_evalsha=[3_000.0, 2_000.0, 4_000.0], echo=[20_000.0])
    (table,) = HTTP.tables
    grid = table.grid(results)
    assert grid is not None
    assert grid.head == ("contestant", "setting", "/s")
    assert grid.rows == (
        ("aiohttp JSON echo", "64 buyers", "20,000"),
        ("one redis-py EVALSHA per request", "64 buyers", "3,000 (2,000 to 4,000)"),
    )


def test_the_markdown_page_has_facts_and_the_targets_first() -> None:
    grids = [Grid("Measured", ("a", "b"), (("x|y", "1"),)), Grid("Targets", ("c",), (("2",),))]
    page = markdown(FACTS, "python -m loadtest.bench", grids, [])
    assert page.index("cpu: a cpu") < page.index("## Targets") < page.index("## Measured")
    assert "| x/y | 1 |" in page


def test_json_lines_hold_every_round_and_say_their_kind() -> None:
    results = results_of(echo=[1.0, 2.0])
    verdict = Verdict("echo", "killed worker", 1, 1, 0, 0, 0, 0, 0)
    results.verdicts.append(verdict)
    raw = json_lines(FACTS, results, target_rows(results))
    kinds = [msgspec.json.decode(line)["kind"] for line in raw.splitlines()]
    assert kinds[:4] == ["facts", "measurement", "measurement", "verdict"]
    assert set(kinds[4:]) == {"target"}


def test_all_tables_of_an_empty_run_are_the_targets_alone() -> None:
    assert [grid.title for grid in all_grids(Results(), [])] == ["Numbers to reach"]


@pytest.mark.parametrize(
    ("books", "doubled", "unanswered", "text"),
    [
        (Audit(0, 10, 10, 10), 0, 0, "correct"),
        (Audit(-2, 12, 12, 12), 0, 0, "2 oversold"),
        (Audit(0, 7, 7, 7), 0, 0, "3 stranded"),
        (Audit(4, 6, 6, 6), 0, 0, "4 left unsold"),
        (Audit(0, 10, 10, 9), 0, 0, "1 doubled"),
        (Audit(0, 10, 10, 10), 2, 3, "2 doubled, 3 unanswered"),
        (Audit(-1, 8, 8, 8), 0, 0, "3 stranded"),
    ],
)
def test_the_books_are_judged(books: Audit, doubled: int, unanswered: int, text: str) -> None:
    verdict = judge("c", "s", 10, books, doubled, unanswered)
    assert verdict.text == text
    assert verdict.correct == (text == "correct")


def test_facts_are_read_from_proc() -> None:
    assert cpu_model("processor : 0\nmodel name\t: Fast CPU @ 3 GHz\n") == "Fast CPU @ 3 GHz"
    assert memory_gib("MemFree: 1 kB\nMemTotal:       25165824 kB\n") == 24.0
    parent, seconds = parse_stat("7 (a (b) c) S 3 7 7 0 -1 0 0 0 0 0 100 50 20 30 20 0 1 0")
    assert parent == 3
    assert seconds == pytest.approx(2.0)


def test_redis_benchmark_csv_is_read() -> None:
    head = '"test","rps","avg_latency_ms","min_latency_ms"\n'
    assert parse_redis_benchmark(head + '"DECR bench:decr","689655.19","0.9","0.1"\n') == 689655.19
    assert parse_redis_benchmark(head) == 0.0
