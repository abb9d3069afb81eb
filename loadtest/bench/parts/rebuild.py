"""The part `rebuild`: an empty Redis, rebuilt from a ledger of a million reservations.

The ledger is filled by SQL. Then Redis is emptied while a reader goes on sending PING; the time is
from the emptying until the sale answers again.
"""

import asyncio
import signal
import time

import msgspec
from redis.asyncio import Redis

from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.filled import STOCK, fill, stop_when_compared
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results, percentile
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.say import Say

PART, CONTESTANT = "rebuild", "from the ledger"
RESERVATIONS = 1_000_000
SKUS = 4  # of the second run: with several SKUs the ledger is read in another order
SALE = "rebuild"
TIMEOUT_SECONDS = 120.0
ASK_SECONDS = 0.005
ANSWER_SECONDS = 10.0
PROCESSES = ("reconciler", "postgres", "redis")


class _Rebuilt(msgspec.Struct, frozen=True):
    """The line about the rebuild in the reconciler's log."""

    event: str = ""
    reservations: int = 0
    seconds: float = 0.0
    redis_wait_seconds: float = 0.0


_rebuilt = msgspec.json.Decoder(_Rebuilt)


def setting_of(reservations: int, skus: int = 1) -> str:
    """The name of a run in the results."""
    return f"{reservations:,} reservations" + (f", {skus} SKUs" if skus > 1 else "")


async def _run(options: Options, results: Results, say: Say) -> None:
    """Run each sale once: filling the ledger takes longer than the rebuild."""
    count = max(1_000, int(RESERVATIONS * options.scale))
    for skus in (1, SKUS):
        await _run_once(count, skus, results, say)


async def _run_once(count: int, skus: int, results: Results, say: Say) -> None:
    setting = setting_of(count, skus)
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        await gate.open_sale(SALE, STOCK, limit=1, skus=skus)
        if not await gate.wait_for_ledger(SALE, TIMEOUT_SECONDS):
            raise StackError("the ledger never had the sale's first events")
        await stop_when_compared(stack, SALE)
        await fill(stack.running.postgres, SALE, count)
        used = {name: cpu_seconds(stack.pids(name)) for name in PROCESSES}
        seconds, answers_ms = await _lose_redis(stack, gate)
        cpu_us = {
            f"{name}_cpu_us": (cpu_seconds(stack.pids(name)) - before) / count * 1e6
            for name, before in used.items()
        }
        promised = (await gate.snapshot(SALE)).promised
    if promised != count * 8 // 10:
        raise StackError(f"{promised} units promised after the rebuild of {count} reservations")
    results.add(
        PART, CONTESTANT, setting, 1, seconds=seconds[0], rebuild_seconds=seconds[1],
        redis_wait_seconds=seconds[2], **cpu_us,
        redis_answer_p99_ms=percentile(answers_ms, 0.99), redis_answer_max_ms=max(answers_ms),
    )  # fmt: skip
    whole, rebuilding, _ = seconds
    say(f"  {setting}: open after {whole:.1f} s, {rebuilding:.1f} s of it to rebuild")


async def _lose_redis(stack: Stack, gate: Gate) -> tuple[tuple[float, float, float], list[float]]:
    """Empty Redis. Returns seconds (until open, to rebuild, of these for Redis) and PING times."""
    redis = Redis.from_url(stack.running.redis, protocol=2, socket_timeout=ANSWER_SECONDS)
    answers_ms: list[float] = []
    enough = asyncio.Event()
    asking = asyncio.create_task(_ask(redis, answers_ms, enough))
    try:
        await redis.flushall()
        started = time.monotonic()
        for process in ("order_writer", "reconciler"):
            stack.signal(process, signal.SIGCONT)
        await gate.wait_until_open(SALE, TIMEOUT_SECONDS)
        whole = time.monotonic() - started
    finally:
        # Ended by an event, not cancelled: the client may take a cancellation for its own fault.
        enough.set()
        await asking
        await redis.aclose()
    rebuilt = _logged(stack)
    return (whole, rebuilt.seconds, rebuilt.redis_wait_seconds), answers_ms


async def _ask(redis: Redis, answers_ms: list[float], enough: asyncio.Event) -> None:
    while not enough.is_set():
        asked = time.perf_counter()
        await redis.ping()
        answers_ms.append((time.perf_counter() - asked) * 1000)
        await asyncio.sleep(ASK_SECONDS)


def _logged(stack: Stack) -> _Rebuilt:
    for line in (stack.folder / "data/logs/reconciler.log").read_bytes().splitlines():
        if b"partition_rebuilt" in line:
            return _rebuilt.decode(line)
    raise StackError("the reconciler rebuilt nothing")


def _rows(results: Results) -> list[Row]:
    """The time of the slower of the two sales."""
    what = f"rebuild of {RESERVATIONS:,} reservations from the ledger"
    against = "from lost to open again"
    found = [
        summary
        for skus in (1, SKUS)
        if (summary := results.find(PART, CONTESTANT, setting_of(RESERVATIONS, skus), "seconds"))
    ]
    if not found:
        return [Row(what, against, 10, " s", None, at_least=False)]
    slower = max(found, key=lambda summary: summary.median)
    return [Row(what, against, 10, " s", slower.median, slower.setting, at_least=False)]


REBUILD = Part(
    name=PART,
    run=_run,
    tables=(Table("Redis emptied, and rebuilt from the ledger", by_contestant(PART)),),
    rows=_rows,
)
