"""The part `comparison`: Redis and the ledger of a large sale compared, alone and while it sells.

The ledger is filled by SQL and Redis rebuilt from it. Then the sale is compared as an operator asks
for it; once more while it sells at a steady rate, with the time of reserves before and meanwhile.
"""

import asyncio
import signal
import time
from functools import partial

import msgspec
from redis.asyncio import Redis

from config.waiting import poll_until
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.filled import STOCK, TIMEOUT_SECONDS, fill, stop_when_compared
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.machine.tokens import write_tokens
from loadtest.bench.machine.wrk import Load, WrkResult, run_wrk
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import TIMES, Row
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.sale import RESERVE_PATH
from loadtest.bench.say import Say

PART, CONTESTANT = "comparison", "Redis with the ledger"
SIZES = (60_000, 1_000_000)
TARGETS_SECONDS = (1.0, 10.0)
SALE = "compared"
SELLING_PER_SECOND = 2_000
SELLING_SECONDS = 6
CONNECTIONS = 16
POLL_SECONDS = 0.02
PROCESSES = ("reconciler", "postgres", "redis")


class _Reconciliation(msgspec.Struct, frozen=True):
    """A reconciliation as the API answers it."""

    reconciliation_id: int
    status: str
    balanced: bool | None


_reconciliation = msgspec.json.Decoder(_Reconciliation)


def setting_of(reservations: int) -> str:
    """The name of a run in the results."""
    return f"{reservations:,} reservations"


async def _run(options: Options, results: Results, say: Say) -> None:
    """Compare a sale of each size."""
    for size in SIZES:
        await _run_once(size, max(1_000, int(size * options.scale)), results, say)


async def _run_once(size: int, count: int, results: Results, say: Say) -> None:
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        write_tokens(stack.folder / "tokens", stack.running.auth_secret, _most_buyers())
        await gate.open_sale(SALE, STOCK, limit=1)
        if not await gate.wait_for_ledger(SALE, TIMEOUT_SECONDS):
            raise StackError("the ledger never had the sale's first events")
        await stop_when_compared(stack, SALE)
        await fill(stack.running.postgres, SALE, count)
        await _rebuild(stack, gate)
        used = {name: cpu_seconds(stack.pids(name)) for name in PROCESSES}
        seconds = await _compare(gate)
        cpu_us = {
            f"{name}_cpu_us": (cpu_seconds(stack.pids(name)) - before) / count * 1e6
            for name, before in used.items()
        }
        alone = await _sell(stack, 0)
        comparing = asyncio.create_task(_compare_while(gate))
        beside = await _sell(stack, 1)
        selling_seconds = await comparing
    results.add(
        PART, CONTESTANT, setting_of(size), 1, seconds=seconds, selling_seconds=selling_seconds,
        **cpu_us, reserve_p99_ms=alone.p99_ms, compared_reserve_p99_ms=beside.p99_ms,
    )  # fmt: skip
    say(
        f"  {count:,} reservations: {seconds:.2f} s, {selling_seconds:.2f} s while selling; "
        f"reserve p99 {alone.p99_ms:.0f} ms, {beside.p99_ms:.0f} ms meanwhile"
    )


def _most_buyers() -> int:
    return 2 * SELLING_PER_SECOND * (SELLING_SECONDS + 1)


async def _rebuild(stack: Stack, gate: Gate) -> None:
    redis = Redis.from_url(stack.running.redis, protocol=2)
    try:
        await redis.flushall()
    finally:
        await redis.aclose()
    for process in ("order_writer", "reconciler"):
        stack.signal(process, signal.SIGCONT)
    await gate.wait_until_open(SALE, TIMEOUT_SECONDS)


async def _compare(gate: Gate) -> float:
    """Seconds from asking for a comparison to its end. Raises StackError where it is unbalanced."""
    began = time.monotonic()
    response = await gate.call("POST", f"/v1/sales/{SALE}/reconciliations", b"{}")
    asked = _reconciliation.decode(response.body)
    has_ended = partial(_has_ended, gate, asked.reconciliation_id)
    if not await poll_until(has_ended, TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError(f"the comparison did not end within {TIMEOUT_SECONDS:.0f} s")
    return time.monotonic() - began


async def _has_ended(gate: Gate, identifier: int) -> bool:
    path = f"/v1/sales/{SALE}/reconciliations/{identifier}"
    found = _reconciliation.decode((await gate.call("GET", path)).body)
    if found.status == "failed" or found.balanced is False:
        raise StackError(f"comparison {identifier} found a difference, or failed")
    return found.status == "done"


async def _compare_while(gate: Gate) -> float:
    """Compare once the sale sells."""
    before = (await gate.snapshot(SALE)).promised

    async def sells() -> bool:
        return (await gate.snapshot(SALE)).promised > before

    if not await poll_until(sells, TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError("nothing was sold beside the comparison")
    return await _compare(gate)


async def _sell(stack: Stack, turn: int) -> WrkResult:
    """Sell at the rate to buyers of this turn."""
    count = _most_buyers() // 2
    return await run_wrk(
        Load(
            url=stack.running.gateway,
            path=RESERVE_PATH.format(sale=SALE),
            tokens=stack.folder / "tokens",
            first=turn * count,
            count=count,
            connections=CONNECTIONS,
            seconds=SELLING_SECONDS,
            key_prefix=f"{SALE}-{turn}",
            per_second=SELLING_PER_SECOND,
        )
    )


def _rows(results: Results) -> list[Row]:
    """The time of each size alone and while selling, and what reserves cost meanwhile."""
    rows = []
    for size, target in zip(SIZES, TARGETS_SECONDS, strict=True):
        what, setting = f"comparison of a sale of {size:,} reservations", setting_of(size)
        for metric, against in (("seconds", "alone"), ("selling_seconds", "while selling 2,000/s")):
            found = results.find(PART, CONTESTANT, setting, metric)
            reached = None if found is None else found.median
            rows.append(Row(what, against, target, " s", reached, at_least=False))
        alone = results.find(PART, CONTESTANT, setting, "reserve_p99_ms")
        beside = results.find(PART, CONTESTANT, setting, "compared_reserve_p99_ms")
        what = f"reserve p99 while a sale of {size:,} reservations is compared"
        ratio = None if alone is None or beside is None else beside.median / alone.median
        rows.append(Row(what, "reserve p99 before", 2, TIMES, ratio, at_least=False))
    return rows


COMPARISON = Part(
    name=PART,
    run=_run,
    tables=(Table("Redis and the ledger of a large sale compared", by_contestant(PART)),),
    rows=_rows,
)
