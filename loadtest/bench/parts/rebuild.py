"""The part `rebuild`: an empty Redis, rebuilt from a ledger of a million reservations.

The ledger is filled by SQL, with what the order writer would have stored: half of the reservations
confirmed, three tenths held, the rest expired. Then Redis is emptied while a reader goes on sending
PING; the time is from the emptying until the sale answers again.
"""

import asyncio
import signal
import time
from functools import partial

import asyncpg
import msgspec
from redis.asyncio import Redis

from config.waiting import poll_until
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.queries import QUERIES
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results, percentile
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.say import Say

PART, CONTESTANT = "rebuild", "from the ledger"
RESERVATIONS = 1_000_000
STOCK = 2_000_000
SKUS = 4  # of the second run: with several SKUs the ledger is read in another order
SALE = "rebuild"
TIMEOUT_SECONDS = 120.0
ASK_SECONDS = 0.005
POLL_SECONDS = 0.05
ANSWER_SECONDS = 10.0
PROCESSES = ("reconciler", "postgres", "redis")
FILLED_TABLES = ("fill_reservations", "fill_order_lines", "fill_ledger_events")


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
        await _stop_when_compared(stack)
        await _fill(stack.running.postgres, count)
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


async def _stop_when_compared(stack: Stack) -> None:
    """Stop reconciler and order writer once the new sale's first comparison has ended.

    A comparison stopped in the middle would go on beside the rebuild, over a million new events.
    """
    connection = await asyncpg.connect(stack.running.postgres)
    try:
        is_compared = partial(connection.fetchval, QUERIES["compared"], SALE)
        if not await poll_until(is_compared, TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError("the new sale was never compared")
    finally:
        await connection.close()
    for process in ("reconciler", "order_writer"):
        stack.signal(process, signal.SIGSTOP)


async def _fill(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(QUERIES["wait_for_ever"])
        async with connection.transaction():
            first = await connection.fetchval(QUERIES["applied"], SALE) + 1
            for name in FILLED_TABLES:
                await connection.execute(QUERIES[name], SALE, count, first)
            await connection.execute(QUERIES["fill_accounts"], SALE)
            await connection.execute(QUERIES["fill_watermark"], SALE, first + count - 1)
        await connection.execute(QUERIES["gather_statistics"])
        await connection.execute(QUERIES["checkpoint"])
    finally:
        await connection.close()


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
