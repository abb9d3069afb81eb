"""The part `ledger`: from the accepted answer to the row in the ledger, at a sustained rate.

Finds the highest rate at which the 99th percentile of the lag is under a second: upwards through
the list of rates, then by halving between the last rate that met the target and the first that
missed it. Beside every rate stands the CPU time of each process for a reservation.
"""

import asyncio

from config.waiting import cancelled
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.gate import DRAIN_TIMEOUT_SECONDS, Gate
from loadtest.bench.machine.stack import Stack, run_stack
from loadtest.bench.machine.tokens import write_tokens
from loadtest.bench.machine.wrk import Load, WrkResult, run_wrk
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results, Summary
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.sale import AMPLE_STOCK, RESERVE_PATH
from loadtest.bench.say import Say
from loadtest.lag import LagSampler

PART, CONTESTANT = "ledger", "accept to row in the ledger"
# A run loses a little at both ends, so the rates lie a little above the rates to reach.
RATES_PER_SECOND = (1_000, 2_500, 5_000, 7_500, 10_100, 12_600, 15_100)
HALVINGS = 3
LAG_TARGET_MS = 1000.0
SECONDS = 8
CONNECTIONS = 128
# Below this share of the asked rate the rate was not reached, whatever the lag.
LEAST_SHARE = 0.95
PROCESSES = ("gateway", "redis", "order_writer", "postgres", "reconciler")


async def _run(options: Options, results: Results, say: Say) -> None:
    """Run each rate once."""
    seconds = max(2, round(SECONDS * options.scale))
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        write_tokens(stack.folder / "tokens", stack.running.auth_secret, _most(seconds))
        kept, missed = 0, 0
        for rate in RATES_PER_SECOND:
            if not await _keeps_up(stack, gate, rate, seconds, results, say):
                missed = rate
                break
            kept = rate
        for _ in range(HALVINGS if missed else 0):
            rate = (kept + missed) // 2
            if await _keeps_up(stack, gate, rate, seconds, results, say):
                kept = rate
            else:
                missed = rate


def _most(seconds: int) -> int:
    return RATES_PER_SECOND[-1] * (seconds + 1)


async def _keeps_up(
    stack: Stack, gate: Gate, rate: int, seconds: int, results: Results, say: Say
) -> bool:
    """Run one rate; returns whether the rate was reached and its lag met the target."""
    sale_id = f"lag-{rate}"
    await gate.open_sale(sale_id, AMPLE_STOCK, limit=1)
    before = _used(stack)
    sampler = LagSampler(stack.running.postgres, sale_id)
    looking = asyncio.create_task(sampler.run())
    try:
        result = await run_wrk(_load(stack, sale_id, rate, seconds))
        drained = await gate.wait_for_ledger(sale_id, DRAIN_TIMEOUT_SECONDS)
    finally:
        await cancelled(looking)
    if not drained:
        say(f"  {rate:,}/s: the ledger did not drain in {DRAIN_TIMEOUT_SECONDS} s")
        return False
    lag = await sampler.distribution()
    results.add(
        PART,
        CONTESTANT,
        f"{rate:,}/s asked for",
        1,
        accepted_per_second=result.accepted_per_second,
        lag_p50_ms=lag.p50_ms,
        lag_p99_ms=lag.p99_ms,
        lag_max_ms=lag.max_ms,
        answer_p99_ms=result.p99_ms,
        **_spent_each(before, _used(stack), result),
    )
    accepted = result.accepted_per_second
    say(f"  {rate:,}/s: {accepted:,.0f}/s accepted, lag p99 {lag.p99_ms:,.0f} ms")
    return accepted >= rate * LEAST_SHARE and lag.p99_ms < LAG_TARGET_MS


def _load(stack: Stack, sale_id: str, rate: int, seconds: int) -> Load:
    return Load(
        url=stack.running.gateway,
        path=RESERVE_PATH.format(sale=sale_id),
        tokens=stack.folder / "tokens",
        first=0,
        count=_most(seconds),
        connections=CONNECTIONS,
        seconds=seconds,
        key_prefix=sale_id,
        per_second=rate,
    )


def _used(stack: Stack) -> dict[str, float]:
    """CPU seconds of each process so far."""
    return {name: cpu_seconds(stack.pids(name)) for name in PROCESSES}


def _spent_each(
    before: dict[str, float], after: dict[str, float], result: WrkResult
) -> dict[str, float]:
    """CPU microseconds for a reservation, of each process and of the load generator."""
    accepted = max(1.0, result.accepted_per_second * result.seconds)
    spent = {name: (after[name] - before[name]) / accepted * 1e6 for name in PROCESSES}
    spent["generator"] = result.generator_share * result.seconds / accepted * 1e6
    return {f"{name}_cpu_us": value for name, value in spent.items()}


def _rows(results: Results) -> list[Row]:
    """The highest rate whose lag met the target, and the CPU time at that rate."""
    what, against = "orders/s with accept → ledger p99 < 1 s", "sustained"
    best, note = None, ""
    for summary in results.summaries():
        if (summary.part, summary.metric) != (PART, "lag_p99_ms"):
            continue
        accepted = results.find(PART, summary.contestant, summary.setting, "accepted_per_second")
        fast_enough = summary.median < LAG_TARGET_MS
        if accepted and fast_enough and (best is None or accepted.median > best):
            best = accepted.median
            note = f"lag p99 {summary.median:.0f} ms; {_profile(results, summary)}"
    return [Row(what, against, 10_000, "/s", best, note)]


def _profile(results: Results, lag: Summary) -> str:
    """The CPU time of each process for a reservation at this rate, the dearest first."""
    spent = [
        (summary.median, summary.metric.removesuffix("_cpu_us"))
        for summary in results.summaries()
        if (summary.part, summary.setting) == (lag.part, lag.setting)
        and summary.metric.endswith("_cpu_us")
    ]
    return "us of CPU each: " + ", ".join(
        f"{name} {us:.0f}" for us, name in sorted(spent, reverse=True)
    )


LEDGER = Part(
    name=PART,
    run=_run,
    tables=(Table("From the answer to the row in the ledger", by_contestant(PART)),),
    rows=_rows,
)
