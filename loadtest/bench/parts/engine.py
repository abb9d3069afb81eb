"""The part `engine`: the scripts alone, on a Redis of their own and one of its cores.

How fast they reserve, what a hold takes of memory, what many live holds cost a reserve, and what
happens when all holds come due at once.
"""

from loadtest.bench.engine import holds, rates, storm
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.bars import BarChart
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import TIMES, Row, paired_ratio
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.say import Say

DECRS_OF_TARGET = 1_200_000  # `redis-benchmark DECR -P 16` a second on the target's machine


async def _run(options: Options, results: Results, say: Say) -> None:
    await rates.run_rates(options, results, say)
    await holds.run_holds(options, results, say)


def _rate_rows(results: Results) -> list[Row]:
    pairs = []
    for size in rates.SIZES[1:]:
        over = (f"batch of {size}", "always", "per_second")
        under = ("one by one, pipelined", "always", "per_second")
        pairs.append((paired_ratio(results, rates.PART, over, under), size))
    measured = [(found, size) for found, size in pairs if found is not None]
    what, against = "reserves in Redis, batches, always", "one by one, pipelined"
    if not measured:
        return [Row(what, against, 1.6, TIMES, None)]
    (ratio, least, most), size = max(measured)
    note = f"batch of {size}; {least:.2f} to {most:.2f}"
    rows = [Row(what, against, 1.6, TIMES, ratio, note)]
    batch = results.find(rates.PART, f"batch of {size}", "always", "per_second")
    decr = results.find(rates.PART, "redis-benchmark DECR -P 16", "always", "per_second")
    if batch is not None and decr is not None:
        target = 100_000 * decr.median / DECRS_OF_TARGET
        note = f"scaled: DECR -P 16 gives {decr.median:,.0f}/s here"
        what = "reserves/s in Redis, batches, always"
        rows.append(Row(what, "100,000/s", target, "/s", batch.median, note))
    return rows


def _memory_row(results: Results) -> Row:
    holding = (holds.MEMORY_PART, "active hold")
    found = [s for s in results.summaries() if (s.part, s.contestant) == holding]
    what, against = "Redis memory per active hold", "record, deadline, limit entry"
    if not found:
        return Row(what, against, 300, " bytes", None, at_least=False)
    worst = max(found, key=lambda summary: summary.median)
    return Row(what, against, 300, " bytes", worst.median, worst.setting, at_least=False)


def _rows(results: Results) -> list[Row]:
    return [*_rate_rows(results), _memory_row(results)]


def _charts(results: Results) -> list[BarChart]:
    names = ["one by one, pipelined", *(f"batch of {size}" for size in rates.SIZES[1:])]
    bars = tuple(
        (f"{name}\nappendfsync {mode}", found)
        for name in names
        for mode in rates.MODES
        if (found := results.find(rates.PART, name, mode, "per_second")) is not None
    )
    return [BarChart("engine.svg", "Reserves in Redis alone, one core", bars)] if bars else []


ENGINE = Part(
    name="engine",
    run=_run,
    tables=(
        Table("The scripts alone, one Redis core", by_contestant(rates.PART)),
        Table("Redis memory", by_contestant(holds.MEMORY_PART)),
        Table("One more reserve beside many live holds", by_contestant(holds.PART)),
        Table("All holds come due at once", by_contestant(storm.PART)),
    ),
    rows=_rows,
    charts=_charts,
)
