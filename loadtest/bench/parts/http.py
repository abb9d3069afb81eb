"""The part `http`: reservations a second of every contestant, over HTTP, side by side."""

from collections.abc import Sequence

from loadtest.bench.contestants import TITLES
from loadtest.bench.http.rounds import PART, run_rounds
from loadtest.bench.parts.part import Part
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import TIMES, Row, paired_ratio
from loadtest.bench.results.tables import Lines, Table, lines_of_contestants

BUYERS = "64 buyers"  # the setting whose ratios have targets
POSTGRES_ALONE = ("postgres_conditional", "postgres_skip_locked")
SHOWN_METRICS = ("per_second", "ledger_per_second", "p50_ms", "p99_ms", "server_cpu_us")


def _lines(results: Results) -> Lines:
    """Lines sorted by the number of buyers, then in the order of the contestants."""
    order = list(TITLES)
    own = [s for s in results.summaries() if s.part == PART]
    own.sort(key=lambda s: (int(s.setting.split()[0]), order.index(s.contestant)))
    measured = {s.metric for s in own}
    return lines_of_contestants(own, [m for m in SHOWN_METRICS if m in measured], TITLES)


def _charts(results: Results) -> list[BarChart]:
    """One chart for each number of buyers, the fastest contestant on top."""
    rates = [s for s in results.summaries() if (s.part, s.metric) == (PART, "per_second")]
    charts = []
    for setting in dict.fromkeys(summary.setting for summary in rates):
        own = [s for s in rates if s.setting == setting]
        own.sort(key=lambda summary: -summary.median)
        title = f"Reservations over HTTP, {setting} of one SKU"
        bars = tuple((TITLES[s.contestant], s) for s in own)
        charts.append(BarChart(f"http_{setting.replace(' ', '_')}.svg", title, bars))
    return charts


def _row(
    results: Results,
    what: str,
    against: str,
    target: float,
    over: str,
    under: str,
    metric: str = "per_second",
) -> Row:
    found = paired_ratio(results, PART, (over, BUYERS, metric), (under, BUYERS, "per_second"))
    if found is None:
        return Row(what, against, target, TIMES, None)
    return Row(what, against, target, TIMES, found[0], f"{found[1]:.2f} to {found[2]:.2f}")


def _best(results: Results, names: Sequence[str]) -> str:
    def rate(name: str) -> float:
        summary = results.find(PART, name, BUYERS, "per_second")
        return summary.median if summary else 0.0

    return max(names, key=rate)


def _rows(results: Results) -> list[Row]:
    best = _best(results, POSTGRES_ALONE)
    accepted = "accepted/s, one worker, token checked"
    return [
        _row(results, accepted, "aiohttp JSON echo", 0.8, "dropgate_1", "echo"),
        _row(
            results,
            accepted,
            "aiohttp msgspec echo (for comparison)",
            0,
            "dropgate_1",
            "msgspec_echo",
        ),
        _row(
            results,
            accepted,
            "one redis-py EVALSHA per request",
            2.2,
            "dropgate_1",
            "redis_evalsha",
        ),
        _row(
            results,
            "orders/s through to the ledger, one worker",
            f"best of Postgres alone ({best})",
            5,
            "dropgate_1_ledger",
            best,
            "ledger_per_second",
        ),
        _row(
            results, "sold-out answers/s", "aiohttp JSON echo", 0.95, "dropgate_1_sold_out", "echo"
        ),
    ]


HTTP = Part(
    name=PART,
    run=run_rounds,
    tables=(Table("Over HTTP: accepted (or refused, where sold out) answers a second", _lines),),
    rows=_rows,
    charts=_charts,
)
