"""The part `overload`: what is left of a worker's capacity at ten times the load.

First wrk measures the capacity, then wrk follows a timetable of ten times that rate over thousands
of connections that ignore `Retry-After`. Requests that wrk could not send are load that the gateway
has kept away. Beside that crowd a few buyers who behave come one by one, each on a connection of
their own: the time of their accepted requests is what a buyer feels.
"""

import asyncio
import signal
import time
from dataclasses import dataclass, field, replace

from redis.asyncio import Redis

from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.stack import Stack, run_stack
from loadtest.bench.machine.tokens import BUYERS_PER_SECOND_MAX, write_tokens
from loadtest.bench.machine.wrk import Load, run_wrk
from loadtest.bench.options import Options
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results, percentile
from loadtest.bench.results.rows import TIMES as RATIO
from loadtest.bench.results.rows import Row, paired_ratio
from loadtest.bench.results.tables import Table, by_contestant
from loadtest.bench.sale import AMPLE_STOCK, RESERVE_PATH, reserve_request
from loadtest.bench.say import Say
from loadtest.client.http_client import HttpClient, NoAnswerError
from loadtest.client.target import mint_token

PART, CONTESTANT = "overload", "dropgate, 1 worker"
CAPACITY, CROWDED = "capacity", "ten times as much"
TIMES = 10
BUYERS, CROWD = 64, 4000
PROBES_PER_SECOND = 50
# Long enough for the crowd to connect and the first wave to pass.
SETTLING_SECONDS = 4
# Twice gateway.max_queue_milliseconds: the wait for a turn, and the turn itself.
LATE_TARGET_MS = 2000.0


@dataclass(slots=True)
class _Probes:
    """Buyers who behave: each asks once."""

    stack: Stack
    sale_id: str
    accepted_ms: list[float] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send by the clock, not by the answers, until `stop` is set; then await all answers."""
        url, secret = self.stack.running.gateway, self.stack.running.auth_secret
        async with asyncio.TaskGroup() as group:
            number = 0
            while not stop.is_set():
                number += 1
                token = mint_token(secret, "buyer", f"probe-{number}")
                group.create_task(self._ask(url, token))
                await asyncio.sleep(1 / PROBES_PER_SECOND)

    async def _ask(self, url: str, token: str) -> None:
        client = HttpClient(url, 1)
        request = reserve_request(self.sale_id, client.authority, token, "probe")
        began = time.perf_counter()
        try:
            response = await client.request(request)
        except NoAnswerError:
            self.unanswered += 1
        else:
            if response.status == 201:
                self.accepted_ms.append((time.perf_counter() - began) * 1000)
            else:
                self.refused += 1
        finally:
            await client.close()


async def _run(options: Options, results: Results, say: Say) -> None:
    """Run every round on a stack of its own."""
    for number in range(1, options.rounds + 1):
        async with run_stack(1) as stack, Gate.of(stack) as gate:
            # Measure up to the answer only: the part `ledger` measures what follows.
            stack.signal("order_writer", signal.SIGSTOP)
            try:
                await _run_round(stack, gate, options, results, say, number)
            finally:
                stack.signal("order_writer", signal.SIGCONT)


async def _accepted_per_second(stack: Stack, sale_id: str, seconds: float) -> float:
    """Accepts per second once the crowd has connected; every event is an accept."""
    redis = Redis.from_url(stack.running.redis, protocol=2)
    try:
        await asyncio.sleep(SETTLING_SECONDS)
        first, began = await _sequence(redis, sale_id), time.perf_counter()
        await asyncio.sleep(seconds)
        return (await _sequence(redis, sale_id) - first) / (time.perf_counter() - began)
    finally:
        await redis.aclose()


async def _sequence(redis: Redis, sale_id: str) -> int:
    return int(await redis.hget(f"{{{sale_id}:0}}:meta", "sequence") or 0)


async def _run_round(
    stack: Stack, gate: Gate, options: Options, results: Results, say: Say, number: int
) -> None:
    seconds = max(4, options.seconds)
    sale_id = f"overload-{number}"
    await gate.open_sale(sale_id, AMPLE_STOCK, limit=1)
    tokens = stack.folder / "tokens"
    most = BUYERS_PER_SECOND_MAX * seconds
    write_tokens(tokens, stack.running.auth_secret, most)
    load = Load(
        url=stack.running.gateway,
        path=RESERVE_PATH.format(sale=sale_id),
        tokens=tokens,
        first=0,
        count=most // 2,
        connections=BUYERS,
        seconds=seconds,
        key_prefix="capacity",
    )
    capacity = await run_wrk(load)
    results.add(
        PART,
        CONTESTANT,
        CAPACITY,
        number,
        accepted_per_second=capacity.accepted_per_second,
        p99_ms=capacity.p99_ms,
    )
    say(f"  capacity {capacity.accepted_per_second:,.0f}/s")
    asked = round(TIMES * capacity.accepted_per_second)
    crowd = replace(
        load,
        first=most // 2,
        connections=CROWD,
        seconds=seconds + SETTLING_SECONDS,
        key_prefix="overload",
        per_second=asked,
    )
    probes = _Probes(stack, sale_id)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(probes.run(stop))
        counting = group.create_task(_accepted_per_second(stack, sale_id, seconds))
        try:
            result = await run_wrk(crowd)
        finally:
            stop.set()
    goodput = counting.result()
    p99_ms = percentile(probes.accepted_ms, 0.99)
    results.add(
        PART,
        CONTESTANT,
        CROWDED,
        number,
        accepted_per_second=goodput,
        refused_per_second=result.refused_per_second,
        asked_per_second=asked,
        p99_ms=p99_ms,
        probes_accepted=len(probes.accepted_ms),
        probes_refused=probes.refused,
        probes_unanswered=probes.unanswered,
    )
    say(
        f"  asked for {asked:,}/s over {CROWD} connections: {goodput:,.0f}/s "
        f"accepted, {result.refused_per_second:,.0f}/s refused; buyers who behave: "
        f"{len(probes.accepted_ms)} accepted with a p99 of {p99_ms:,.0f} ms, "
        f"{probes.refused} refused, {probes.unanswered} without answer"
    )


def _rows(results: Results) -> list[Row]:
    """The share of the capacity that is left at ten times the load, and the time of an answer."""
    found = paired_ratio(
        results,
        PART,
        (CONTESTANT, CROWDED, "accepted_per_second"),
        (CONTESTANT, CAPACITY, "accepted_per_second"),
    )
    what, against = "accepted/s, asked for 10 times the capacity", "capacity"
    late = results.find(PART, CONTESTANT, CROWDED, "p99_ms")
    note = f"{found[1]:.2f} to {found[2]:.2f}" if found else ""
    return [
        Row(what, against, 0.8, RATIO, found[0] if found else None, note),
        Row(
            "p99 of what is accepted then",
            "buyers who behave",
            LATE_TARGET_MS,
            " ms",
            late.median if late else None,
            at_least=False,
        ),
    ]


OVERLOAD = Part(
    name=PART,
    run=_run,
    tables=(Table("Ten times as much as a worker can do", by_contestant(PART)),),
    rows=_rows,
)
