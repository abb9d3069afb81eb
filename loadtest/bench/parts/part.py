"""What a part of the benchmarks is: one object, which parts/table.py lists.

A part lives in a module of its own. Command line, run, report and charts read the list, so a new
part is its module and its place in the list.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from loadtest.bench.options import Options
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.curves import CurveChart
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table
from loadtest.bench.say import Say

Chart = BarChart | CurveChart


def _no_rows(_results: Results) -> list[Row]:
    return []


def _no_charts(_results: Results) -> list[Chart]:
    return []


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmarks.

    `name` is the part's name for `--only`. `run` measures, adds its numbers to the results and
    says how it goes; it raises StackError or WrkError where a server or wrk fails. `tables` show
    the numbers, `rows` hold them against the design's targets (a row of a part that did not run
    says that it was not measured), and `charts` draw them.
    """

    name: str
    run: Callable[[Options, Results, Say], Awaitable[None]]
    tables: tuple[Table, ...]
    rows: Callable[[Results], list[Row]] = _no_rows
    charts: Callable[[Results], Sequence[Chart]] = _no_charts
