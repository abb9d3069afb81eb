"""The part `headline`: 10,000 units, 500,000 buyers; then again with Redis killed in the middle.

Every checker of the verdict judges both runs from the answers to each buyer. A run with a broken
invariant has reached nothing.
"""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from config.waiting import poll_until
from loadtest.bench.herd.drop import DropHerd
from loadtest.bench.herd.process import run_crowd
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.memory import peak_rss_mib
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.machine.tokens import write_tokens
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results, percentile
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_metric
from loadtest.bench.say import Say
from loadtest.client.history import NO_ANSWER, Attempt, History
from loadtest.figures import accepted_rate
from loadtest.verdict.finding import Outcome
from loadtest.verdict.run import Verdict, verify

PART, CONTESTANT = "headline", "dropgate"
SETTINGS = ("undisturbed", "Redis killed in the middle")
UNITS, BUYERS, CONNECTIONS = 10_000, 500_000, 256
WORKERS = 2
KILL_AT_SHARE = 0.4  # of the units: Redis is killed once they are promised
DRAIN_TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.01
PROMISED_TIMEOUT_SECONDS = 900.0  # as long as the crowd itself may take
PROCESSES = ("gateway", "redis", "order_writer", "reconciler")


@dataclass(frozen=True, slots=True)
class _Size:
    units: int
    buyers: int


async def _run(options: Options, results: Results, say: Say) -> None:
    """Make both runs, each on a stack of its own."""
    size = _Size(max(10, round(UNITS * options.scale)), max(100, round(BUYERS * options.scale)))
    for setting in SETTINGS:
        async with run_stack(WORKERS) as stack, Gate.of(stack) as gate:
            await _run_once(stack, gate, size, setting, results, say)


async def _run_once(
    stack: Stack, gate: Gate, size: _Size, setting: str, results: Results, say: Say
) -> None:
    sale_id = "headline"
    running = stack.running
    tokens, history_file = stack.folder / "tokens", stack.folder / "history"
    write_tokens(tokens, running.auth_secret, size.buyers)
    await gate.open_sale(sale_id, size.units, limit=1)
    herd = DropHerd(
        url=running.gateway,
        auth_secret=running.auth_secret,
        sale_id=sale_id,
        tokens=str(tokens),
        buyers=size.buyers,
        connections=CONNECTIONS,
        history=str(history_file),
    )
    killed_at = None
    async with asyncio.TaskGroup() as together:
        crowd = together.create_task(run_crowd(herd, stack.folder))
        if setting != SETTINGS[0]:
            killed_at = await _kill_redis(stack, sale_id, round(size.units * KILL_AT_SHARE))
    status = crowd.result()
    history = History.read(history_file)
    verdict = await verify(
        sale_id,
        redis_url=running.redis,
        dsn=running.postgres,
        history=history,
        drain_timeout_seconds=DRAIN_TIMEOUT_SECONDS,
    )
    sold = (await gate.snapshot(sale_id)).sold
    _note(results, say, size, setting, history, verdict, sold, all_answered=status == 0)
    if killed_at is not None:
        results.add(PART, CONTESTANT, setting, 1, promised_when_killed=killed_at)
    await _note_memory(results, stack, setting)


async def _kill_redis(stack: Stack, sale_id: str, promised: int) -> int:
    """Once this many units are promised; returns how many there were then. Raises StackError."""
    redis = Redis.from_url(stack.running.redis, protocol=2)
    key = f"{{{sale_id}:0}}:stock"
    now = 0

    async def are_promised() -> bool:
        nonlocal now
        counters = await redis.hmget(key, "BENCH:default:held", "BENCH:default:sold")
        now = sum(int(value or 0) for value in counters)
        return now >= promised

    try:
        if not await poll_until(are_promised, PROMISED_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError(f"{now} units promised in {PROMISED_TIMEOUT_SECONDS} s")
    finally:
        await redis.aclose()
    stack.signal("redis", signal.SIGKILL)
    return now


def _times_ms(attempts: Sequence[Attempt]) -> list[float]:
    return sorted(a.seconds * 1000 for a in attempts if a.status != NO_ANSWER)


def _note(
    results: Results,
    say: Say,
    size: _Size,
    setting: str,
    history: History,
    verdict: Verdict,
    sold: int,
    *,
    all_answered: bool,
) -> None:
    attempts = history.attempts
    reserves = list(history.of("reserve"))
    began = min(a.started_at for a in attempts)
    seconds = max(a.started_at + a.seconds for a in attempts) - began
    ordered = _times_ms(reserves)
    # From the opening, when all buyers stand at the door, to each buyer's last answer.
    ends = {a.buyer_id: a.started_at + a.seconds - began for a in reserves}
    served = sorted(end * 1000 for end in ends.values())
    again = len(reserves) - size.buyers
    broken = [f.name for f in verdict.findings if f.outcome is Outcome.BROKEN]
    holds = all_answered and not broken
    results.add(
        PART,
        CONTESTANT,
        setting,
        1,
        units=size.units,
        buyers=size.buyers,
        sold=sold,
        holds=float(holds),
        seconds=seconds,
        answers_per_second=len(ordered) / seconds,
        accepted_per_second=accepted_rate(history, size.units),
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
        p999_ms=percentile(ordered, 0.999),
        from_opening_p50_ms=percentile(served, 0.5),
        from_opening_p99_ms=percentile(served, 0.99),
        asked_again=again,
    )
    says = "every invariant holds" if holds else f"BROKEN: {', '.join(broken) or 'no answer'}"
    say(
        f"  {size.units:,} units, {size.buyers:,} buyers, {setting}: sold {sold:,} in "
        f"{seconds:.1f} s, {len(ordered) / seconds:,.0f} answers/s, p99 "
        f"{percentile(ordered, 0.99):.0f} ms, {again:,} asked again; {says}"
    )
    for finding in verdict.findings:
        for example in finding.examples:
            say(f"    {finding.name}: {example}")


async def _note_memory(results: Results, stack: Stack, setting: str) -> None:
    rss = {f"{name}_mib": peak_rss_mib(stack.pids(name)) for name in PROCESSES}
    redis = Redis.from_url(stack.running.redis, protocol=2)
    try:
        used = (await redis.info("memory"))["used_memory_peak"] / 2**20
    finally:
        await redis.aclose()
    results.add(PART, CONTESTANT, setting, 1, **rss, redis_used_mib=used)


def _rows(results: Results) -> list[Row]:
    """Units sold in each run; 0 where an invariant broke or a buyer had no answer."""
    rows = []
    for setting in SETTINGS:
        found = {
            metric: summary.median
            for metric in ("units", "buyers", "sold", "holds", "seconds")
            if (summary := results.find(PART, CONTESTANT, setting, metric)) is not None
        }
        if not found:
            rows.append(Row("10,000 units, 500,000 buyers", setting, 10_000, " sold", None))
            continue
        what = f"{found['units']:,.0f} units, {found['buyers']:,.0f} buyers"
        reached = found["sold"] if found["holds"] else 0.0
        note = f"all answered in {found['seconds']:.1f} s" if found["holds"] else "BROKEN"
        rows.append(Row(what, setting, found["units"], " sold", reached, note))
    return rows


HEADLINE = Part(
    name=PART,
    run=_run,
    tables=(Table("The headline: 10,000 units, 500,000 buyers", by_metric(PART)),),
    rows=_rows,
)
