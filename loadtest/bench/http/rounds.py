"""The contestants over HTTP: every round runs each contestant once at each number of buyers.

A round runs on a fresh stack, whose Redis and Postgres all contestants share, one after the other
in an order drawn for the round. The two-worker gateway gets a stack of its own at the end.
"""

import random
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.contestants import CONTESTANTS, Contestant
from loadtest.bench.designs.process import DesignProcess, run_designs
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.gate import DRAIN_TIMEOUT_SECONDS, Gate
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.machine.tokens import BUYERS_PER_SECOND_MAX, write_tokens
from loadtest.bench.machine.wrk import Load, WrkResult, run_wrk
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.sale import AMPLE_STOCK, RESERVE_PATH
from loadtest.bench.say import Say

PART = "http"
WARM_UP_SECONDS = 1
# Few buyers, so that requests left over from the warm-up do not disturb the measured run.
MOST_WARM_UP_BUYERS = 64
MOST_UNIT_ROWS = 60_000


@dataclass(frozen=True, slots=True)
class Course:
    """Everything that one round needs."""

    stack: Stack
    gate: Gate
    designs: dict[str, DesignProcess]
    tokens: Path
    options: Options
    results: Results
    round: int
    say: Say


async def run_rounds(options: Options, results: Results, say: Say) -> None:
    """Run all rounds."""
    order = random.Random(options.seed)
    for number in range(1, options.rounds + 1):
        for workers in (1, 2):
            chosen = [
                c for c in CONTESTANTS if c.workers == workers and c.name in options.contestants
            ]
            if chosen:
                runs = [(c, buyers) for buyers in options.buyers for c in chosen]
                order.shuffle(runs)
                await _run_round(options, results, say, number, workers, runs)


async def _run_round(
    options: Options,
    results: Results,
    say: Say,
    number: int,
    workers: int,
    runs: Sequence[tuple[Contestant, int]],
) -> None:
    async with AsyncExitStack() as parts:
        stack = await parts.enter_async_context(run_stack(workers))
        gate = await parts.enter_async_context(Gate.of(stack))
        names = sorted({c.name for c, _ in runs if c.kind != "dropgate"})
        designs = await parts.enter_async_context(run_designs(stack, names))
        tokens = stack.folder / "tokens"
        secret = stack.running.auth_secret
        write_tokens(tokens, secret, BUYERS_PER_SECOND_MAX * (options.seconds + WARM_UP_SECONDS))
        course = Course(stack, gate, designs, tokens, options, results, number, say)
        for contestant, buyers in runs:
            await _run_one(course, contestant, buyers)


async def _run_one(course: Course, contestant: Contestant, buyers: int) -> None:
    sale_id = f"{contestant.name.replace('_', '-')}-{buyers}"
    if contestant.kind == "dropgate":
        url, server = course.stack.running.gateway, course.stack.pids("gateway")
        await _open(course, contestant, sale_id)
    else:
        process = course.designs[contestant.name]
        url, server = process.url, [process.pid]
        if contestant.kind == "design":
            stock = MOST_UNIT_ROWS if contestant.name == "postgres_skip_locked" else AMPLE_STOCK
            await process.call("POST", f"/bench/reset/{stock}")
    front_only = contestant.kind == "dropgate" and contestant.mode == "accept"
    if front_only:
        # Measure up to the answer only: the ledger has a contestant of its own.
        course.stack.signal("order_writer", signal.SIGSTOP)
    try:
        await run_wrk(_load(course, url, sale_id, buyers, warm_up=True))
        if contestant.mode == "ledger":
            await course.gate.wait_for_ledger(sale_id, DRAIN_TIMEOUT_SECONDS)
        redis = course.stack.pids("redis")
        before = (cpu_seconds(server), cpu_seconds(redis))
        result = await run_wrk(_load(course, url, sale_id, buyers, warm_up=False))
        used = (cpu_seconds(server) - before[0], cpu_seconds(redis) - before[1])
    finally:
        if front_only:
            course.stack.signal("order_writer", signal.SIGCONT)
    ended = time.monotonic()
    drained = True
    if contestant.kind == "design":
        # Requests of callers who left go on, some for long; they must not slow the next contestant.
        await course.designs[contestant.name].kill()
        await course.designs[contestant.name].start()
    if contestant.kind == "dropgate":
        drained = await course.gate.wait_for_ledger(sale_id, DRAIN_TIMEOUT_SECONDS)
    _note(course, contestant, buyers, result, used)
    if contestant.mode == "ledger":
        accepted = result.requests - result.refused
        seconds = result.seconds + time.monotonic() - ended
        setting = f"{buyers} buyers"
        rate = accepted / seconds if drained else 0.0
        course.results.add(PART, contestant.name, setting, course.round, ledger_per_second=rate)
        course.say(f"    into the ledger {rate:,.0f}/s" + ("" if drained else ": did not drain"))


async def _open(course: Course, contestant: Contestant, sale_id: str) -> None:
    await course.gate.open_sale(
        sale_id, 0 if contestant.mode == "sold_out" else AMPLE_STOCK, limit=1
    )


def _load(course: Course, url: str, sale_id: str, buyers: int, *, warm_up: bool) -> Load:
    seconds = WARM_UP_SECONDS if warm_up else course.options.seconds
    return Load(
        url=url,
        path=RESERVE_PATH.format(sale=sale_id),
        tokens=course.tokens,
        first=0 if warm_up else BUYERS_PER_SECOND_MAX * WARM_UP_SECONDS,
        count=BUYERS_PER_SECOND_MAX * seconds,
        connections=min(buyers, MOST_WARM_UP_BUYERS) if warm_up else buyers,
        seconds=seconds,
        key_prefix=f"{sale_id}-{warm_up:d}",
    )


def _note(
    course: Course,
    contestant: Contestant,
    buyers: int,
    result: WrkResult,
    used: tuple[float, float],
) -> None:
    if result.laps:
        raise StackError(f"{contestant.name} was faster than there are buyers: raise the number")
    sold_out = contestant.mode == "sold_out"
    rate = result.refused_per_second if sold_out else result.accepted_per_second
    other = result.requests - result.refused if sold_out else result.refused
    course.results.add(
        PART,
        contestant.name,
        f"{buyers} buyers",
        course.round,
        per_second=rate,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        server_cpu_us=used[0] / max(1, result.requests) * 1e6,
        redis_cpu_us=used[1] / max(1, result.requests) * 1e6,
        other_answers=other,
        no_answer=result.failed,
        generator_share=result.generator_share,
    )
    course.say(
        f"  round {course.round} {contestant.title}, {buyers} buyers: {rate:,.0f}/s, "
        f"p99 {result.p99_ms:.1f} ms"
        + (f", {other} other answers" if other else "")
        + (f", {result.failed} without answer" if result.failed else "")
    )
