"""The part `growth`: cost against SKUs, locations, lines, sales in the ledger and live sales.

Each curve is a ratio to its smallest size. The sizes of a reservation's sale come from the parts
`engine` and `comparison`, where they ran.
"""

from loadtest.bench.engine import holds
from loadtest.bench.growth import ledger_sales, live_sales, redis_calls
from loadtest.bench.options import Options
from loadtest.bench.parts import comparison
from loadtest.bench.parts.part import Part
from loadtest.bench.results.curves import CurveChart, Source, curve_chart, sizes_of
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import TIMES, Row, paired_ratio
from loadtest.bench.results.tables import Table, by_contestant, number
from loadtest.bench.say import Say

SKUS_MOST, SALES_MOST, OPENING_MS_MOST, SCRAPE_MS_MOST = 1.3, 1.1, 50.0, 200.0


def _redis(label: str, contestant: str) -> Source:
    return Source(label, redis_calls.PART, contestant, "redis_cpu_us", "µs")


def _ledger(label: str, contestant: str, metric: str, unit: str) -> Source:
    return Source(label, ledger_sales.PART, contestant, metric, unit)


def _idle(process: str) -> Source:
    label = f"CPU of {process.replace('_', ' ')}"
    return Source(label, live_sales.PART, live_sales.IDLE, f"{process}_percent", "% of a core")


SKUS = _redis("SKUs of the sale", redis_calls.SKUS.contestant)
LOCATIONS = _redis("locations of the SKU", redis_calls.LOCATIONS.contestant)
LINES = _redis("lines of the request", redis_calls.REQUEST_LINES.contestant)
RESERVES = _ledger("CPU of a reserve", ledger_sales.RESERVES, "cpu_us", "µs")
CONFIRMS = _ledger("CPU of a confirm", ledger_sales.CONFIRMS, "cpu_us", "µs")
OPENING = _ledger("opening a sale, p50", ledger_sales.OPENING, "p50_ms", "ms")
OPENING_P99 = _ledger("opening a sale, p99", ledger_sales.OPENING, "p99_ms", "ms")
LISTING = _ledger("a buyer's list of orders, p50", ledger_sales.LISTING, "p50_ms", "ms")
IDLE = tuple(_idle(process) for process in live_sales.PROCESSES)
SCRAPE = Source("scrape, p50", live_sales.PART, live_sales.SCRAPE, "p50_ms", "ms")
SCRAPE_P99 = Source("scrape, p99", live_sales.PART, live_sales.SCRAPE, "p99_ms", "ms")
RESERVATIONS = (
    Source(
        "Redis CPU of one more reserve", holds.PART, "one more reserve, batch of 100",
        "redis_cpu_us", "µs",
    ),
    Source("comparison", comparison.PART, comparison.CONTESTANT, "seconds", "s"),
    Source(
        "comparison while selling", comparison.PART, comparison.CONTESTANT, "selling_seconds", "s"
    ),
)  # fmt: skip


async def _run(options: Options, results: Results, say: Say) -> None:
    """Measure in Redis alone, over sales in the ledger, and over live sales."""
    await redis_calls.run_calls(options, results, say)
    await ledger_sales.run_sales(options, results, say)
    await live_sales.run_live(options, results, say)


def _growth(results: Results, what: str, source: Source, most: float = 0.0) -> Row:
    """The largest size against the smallest, round by round; without `most` for comparison only."""
    points = sizes_of(results, source)
    if len(points) < 2:
        return Row(what, "the smallest size", most, TIMES, None, at_least=False)
    (_, first), (_, last) = points[0], points[-1]
    ratio = paired_ratio(
        results, source.part, (source.contestant, last.setting, source.metric),
        (source.contestant, first.setting, source.metric),
    )  # fmt: skip
    against = f"{last.setting} against {first.setting}"
    if ratio is None:
        return Row(what, against, most, TIMES, None, at_least=False)
    spread = f"{number(first.median)} to {number(last.median)} {source.unit}"
    note = f"{ratio[1]:.2f} to {ratio[2]:.2f}; {spread}"
    return Row(what, against, most, TIMES, ratio[0], note, at_least=False)


def _time(results: Results, what: str, middle: Source, slow: Source, most: float) -> Row:
    """The p99 at the largest size."""
    points = sizes_of(results, slow)
    if not points:
        return Row(what, "the largest size", most, " ms", None, at_least=False)
    setting, reached = points[-1][1].setting, points[-1][1].median
    note = "".join(f"p50 {number(s.median)} ms" for _, s in sizes_of(results, middle)[-1:])
    return Row(what, setting, most, " ms", reached, note, at_least=False)


def _share(results: Results, what: str, source: Source) -> Row:
    """The share of a core at the largest size."""
    points = sizes_of(results, source)
    if not points:
        return Row(what, "the largest size", 0.0, " %", None, at_least=False)
    (_, first), (_, last) = points[0], points[-1]
    note = f"{number(first.median)} % at {first.setting}"
    return Row(what, last.setting, 0.0, " %", last.median, note, at_least=False)


def _rows(results: Results) -> list[Row]:
    return [
        _growth(results, "Redis' CPU for a reserve, by SKUs of the sale", SKUS, SKUS_MOST),
        _growth(results, "Redis' CPU for a reserve, by locations of the SKU", LOCATIONS),
        _growth(results, "Redis' CPU for a reserve, by lines of the request", LINES),
        _growth(results, "CPU of a reserve into the ledger, by sales", RESERVES, SALES_MOST),
        _growth(results, "CPU of a confirm into the ledger, by sales", CONFIRMS, SALES_MOST),
        _time(results, "opening a sale, p99", OPENING, OPENING_P99, OPENING_MS_MOST),
        _growth(results, "a buyer's list of orders, by sales in the ledger", LISTING),
        _time(results, "scrape of /metrics, p99", SCRAPE, SCRAPE_P99, SCRAPE_MS_MOST),
        *(_share(results, f"{one.label} while nobody buys, of a core", one) for one in IDLE),
    ]


def _charts(results: Results) -> list[CurveChart]:
    return [
        *curve_chart(
            results, "growth_redis.svg", "Redis' CPU for a reserve",
            "SKUs, locations or lines", (SKUS, LOCATIONS, LINES),
        ),
        *curve_chart(
            results, "growth_ledger.svg", "Ledger, openings and lists of orders",
            "sales in the ledger, at most 100 of them busy", (RESERVES, CONFIRMS, OPENING, LISTING),
        ),
        *curve_chart(
            results, "growth_live.svg", "An installation in which nobody buys", "live sales",
            (*IDLE, SCRAPE),
        ),
        *curve_chart(
            results, "growth_reservations.svg", "One more reserve, and a comparison",
            "reservations in the sale", RESERVATIONS,
        ),
    ]  # fmt: skip


GROWTH = Part(
    name="growth",
    run=_run,
    tables=(
        Table("Growth: Redis' time for a reserve", by_contestant(redis_calls.PART)),
        Table("Growth: cost against sales in the ledger", by_contestant(ledger_sales.PART)),
        Table("Growth: cost against live sales", by_contestant(live_sales.PART)),
    ),
    rows=_rows,
    charts=_charts,
)
