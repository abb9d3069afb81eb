"""The part `waiting`: a million buyers join the waiting room over HTTP, then poll.

Joins show how much of Redis' memory a waiting buyer takes, polls that a poll takes no Redis call.
Redis' calls while nobody polls (workers look at the room several times a second) are measured
before the polls and taken off.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from loadtest.bench.herd.process import run_crowd
from loadtest.bench.herd.queue import QueueHerd, QueueResult
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.memory import peak_rss_mib
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.machine.tokens import write_tokens
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_metric
from loadtest.bench.say import Say

PART, CONTESTANT, SETTING = "waiting", "dropgate", "over HTTP"
BUYERS, CONNECTIONS, WORKERS = 1_000_000, 256, 2
POLL_SECONDS, QUIET_SECONDS = 10.0, 5.0
SALE = "waiting"
# A few buyers are let in; all others wait until the end of the run.
ROOM = {"max_active_buyers": 100, "admission_seconds": 3600, "order": "fifo"}


@dataclass(frozen=True, slots=True)
class _Look:
    used_bytes: int
    calls: int


async def _run(options: Options, results: Results, say: Say) -> None:
    """Let all buyers join, count Redis' calls while nobody polls, then poll."""
    buyers = max(1000, round(BUYERS * options.scale))
    async with run_stack(WORKERS) as stack, Gate.of(stack) as gate:
        await gate.open_sale(SALE, BUYERS, limit=1, waiting_room=ROOM)
        write_tokens(stack.folder / "tokens", stack.running.auth_secret, buyers)
        redis = Redis.from_url(stack.running.redis, protocol=2)
        try:
            before = await _look(redis)
            joined = await _crowd(stack, buyers, poll_seconds=0.0)
            after = await _look(redis)
            await asyncio.sleep(QUIET_SECONDS)
            quiet = await _look(redis)
            polled = await _crowd(stack, buyers, poll_seconds=POLL_SECONDS)
            last = await _look(redis)
        finally:
            await redis.aclose()
        own_calls = (quiet.calls - after.calls) / QUIET_SECONDS * polled.seconds
        calls_per_poll = max(0.0, last.calls - quiet.calls - own_calls) / max(1, polled.answered)
        results.add(
            *(PART, CONTESTANT, SETTING, 1),
            waiting=joined.answered,
            joins_per_second=joined.answered / joined.seconds,
            join_p50_ms=joined.p50_ms,
            join_p99_ms=joined.p99_ms,
            joins_asked_again=joined.refused,
            redis_bytes_each=(after.used_bytes - before.used_bytes) / max(1, joined.answered),
            polls_per_second=polled.answered / polled.seconds,
            poll_p50_ms=polled.p50_ms,
            poll_p99_ms=polled.p99_ms,
            polls_not_answered=polled.refused,
            redis_calls_per_poll=calls_per_poll,
            redis_used_mib=last.used_bytes / 2**20,
            gateway_mib=peak_rss_mib(stack.pids("gateway")),
        )
        each = (after.used_bytes - before.used_bytes) / max(1, joined.answered)
        say(
            f"  {joined.answered:,} joined at {joined.answered / joined.seconds:,.0f}/s, "
            f"{each:.1f} bytes each; polls {polled.answered / polled.seconds:,.0f}/s, p99 "
            f"{polled.p99_ms:.0f} ms, {calls_per_poll:.4f} Redis calls each"
        )


async def _look(redis: Redis) -> _Look:
    memory, stats = await redis.info("memory"), await redis.info("stats")
    return _Look(memory["used_memory"], stats["total_commands_processed"])


async def _crowd(stack: Stack, buyers: int, *, poll_seconds: float) -> QueueResult:
    result = stack.folder / "queue.json"
    herd = QueueHerd(
        url=stack.running.gateway,
        sale_id=SALE,
        tokens=str(stack.folder / "tokens"),
        tickets=str(stack.folder / "tickets"),
        buyers=buyers,
        connections=CONNECTIONS,
        poll_seconds=poll_seconds,
        result=str(result),
    )
    status = await run_crowd(herd, stack.folder)
    if status:
        raise StackError(f"the crowd of the waiting room ended with status {status}")
    return msgspec.json.decode(Path(herd.result).read_bytes(), type=QueueResult)


def _rows(results: Results) -> list[Row]:
    """Redis' memory for a waiting buyer, and Redis' calls for a poll."""
    waiting = results.find(PART, CONTESTANT, SETTING, "waiting")
    what = f"{waiting.median:,.0f} waiting buyers" if waiting else "1,000,000 waiting buyers"
    rows = []
    for against, metric, target, unit in (
        ("Redis memory of each", "redis_bytes_each", 32, " bytes"),
        ("Redis calls of a poll", "redis_calls_per_poll", 0.01, ""),
    ):
        found = results.find(PART, CONTESTANT, SETTING, metric)
        reached = found.median if found else None
        rows.append(Row(what, against, target, unit, reached, at_least=False))
    return rows


WAITING = Part(
    name=PART,
    run=_run,
    tables=(Table("A million buyers in the waiting room, over HTTP", by_metric(PART)),),
    rows=_rows,
)
