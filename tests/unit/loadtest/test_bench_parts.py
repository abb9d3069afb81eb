"""The list of the benchmarks' parts: what every part of it has, and what the command line takes."""

from pathlib import Path

import pytest

from loadtest.bench.command_line import parse_options
from loadtest.bench.parts import table
from loadtest.bench.parts.http import HTTP
from loadtest.bench.parts.part import Part
from loadtest.bench.parts.table import PARTS
from loadtest.bench.report.charts import draw_charts
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.measurements import Results

BESIDE = {"__init__", "part", "table"}  # modules that are no part


def test_every_module_of_a_part_is_in_the_list() -> None:
    modules = {path.stem for path in Path(table.__file__).parent.glob("*.py")} - BESIDE
    assert modules == {part.name for part in PARTS}
    assert len(PARTS) == len(modules), "no part is listed twice"


def test_results_written_so_far_can_still_be_read_by_the_parts_names() -> None:
    # README.md of docs/benchmarks and results.jsonl use these names.
    assert {part.name for part in PARTS} == {
        *("http", "engine", "ledger", "headline", "waiting", "overload", "rebuild"),
        *("waiting_room", "verdicts", "comparison", "growth"),
    }


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_can_be_asked_for_alone(part: Part) -> None:
    assert parse_options(["--only", part.name]).parts == (part.name,)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_that_did_not_run_shows_no_table_and_no_chart(part: Part) -> None:
    results = Results()
    assert part.tables
    assert [table.grid(results) for table in part.tables] == [None] * len(part.tables)
    assert list(part.charts(results)) == []
    assert all(row.reached is None for row in part.rows(results))


def test_a_chart_of_the_part_over_http_shows_the_fastest_on_top(tmp_path: Path) -> None:
    results = Results()
    for contestant, rate in (("echo", 20_000.0), ("dropgate_1", 30_000.0)):
        results.add("http", contestant, "64 buyers", 1, per_second=rate)
    (chart,) = HTTP.charts(results)
    assert isinstance(chart, BarChart)
    assert [label for label, _ in chart.bars] == ["dropgate, 1 worker", "aiohttp JSON echo"]
    (drawn,) = draw_charts(results, tmp_path)
    assert drawn.name == "http_64_buyers.svg"
    assert "<svg" in drawn.read_text()
