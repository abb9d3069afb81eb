"""Cost against the sales in the ledger: writing orders, opening a sale, a buyer's list of orders.

A round starts a fresh stack and makes it larger from point to point. At each point the order writer
is stopped while buyers reserve in the busy sales, and its CPU time and that of Postgres are taken
from its waking until the ledger has everything; then the same with confirmations.
"""

import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import asyncpg
import msgspec

from config.waiting import poll_until
from loadtest.bench.engine.client import Client, RefusedError
from loadtest.bench.engine.partition import (
    Engine,
    Partition,
    assembled_scripts,
    batches,
    buyer_of,
    token_of,
)
from loadtest.bench.growth.levels import scaled, setting_of
from loadtest.bench.growth.sales import add_old_sales, open_sales, wait_until_compared
from loadtest.bench.growth.timed import timed
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.gate import DRAIN_TIMEOUT_SECONDS, Gate
from loadtest.bench.machine.queries import QUERIES
from loadtest.bench.machine.stack import Stack, StackError, run_stack
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.sale import AMPLE_STOCK
from loadtest.bench.say import Say

PART, NOUN = "growth_ledger", "sale"
RESERVES, CONFIRMS = "a reserve into the ledger", "a confirm into the ledger"
OPENING, LISTING = "opening a sale", "a buyer's list of orders"
LEVELS = (1, 100, 1_000, 10_000)
BUSY_SALES = 100
EVENTS = 20_000  # of each kind at each point
WARM_UP = 0.25  # of these events, before
BATCH, CALLS_UNDER_WAY = 50, 16
OPENINGS, LISTS = 20, 50
POLL_SECONDS = 0.05


async def run_sales(options: Options, results: Results, say: Say) -> None:
    """Run all rounds, each on a stack of its own."""
    for number in range(1, options.rounds + 1):
        async with _course() as course:
            for level in scaled(LEVELS, options.scale):
                await _one_point(course, level, options.scale, number, results)
                say(f"  round {number}: {level:,} sales in the ledger done")


@dataclass(slots=True)
class _Course:
    """A stack that grows: its live sales by id, and how many old sales it has."""

    stack: Stack
    gate: Gate
    engine: Engine
    ledger: asyncpg.Connection
    live: list[str] = field(default_factory=list)
    old: int = 0
    buyers: int = 0

    @property
    def sales(self) -> int:
        """All sales in the ledger."""
        return len(self.live) + self.old

    def new_sale_id(self) -> str:
        """The id of one more live sale."""
        self.live.append(f"live-{len(self.live)}")
        return self.live[-1]


@asynccontextmanager
async def _course() -> AsyncIterator[_Course]:
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        redis = urlsplit(stack.running.redis)
        client = Client(redis.hostname or "", redis.port or 0)
        ledger = await asyncpg.connect(stack.running.postgres)
        await ledger.execute(QUERIES["wait_for_ever"])
        try:
            yield _Course(stack, gate, Engine(client, assembled_scripts()), ledger)
        finally:
            await ledger.close()
            client.close()


async def _one_point(
    course: _Course, level: int, scale: float, number: int, results: Results
) -> None:
    """Grow to as many sales and measure. The openings come last: they add sales."""
    more = min(level, BUSY_SALES) - len(course.live)
    await open_sales(course.gate, course.ledger, [course.new_sale_id() for _ in range(more)])
    count = max(0, level - course.sales)
    await add_old_sales(course.ledger, course.old, count)
    course.old += count
    busy, setting = min(level, BUSY_SALES), setting_of(course.sales, NOUN)
    # Every point starts alike: plans made with statistics of an empty table cost more, and so does
    # the first change of each page after a checkpoint.
    await _write(course, busy, scale * WARM_UP)
    for name in ("gather_statistics", "checkpoint"):
        await course.ledger.execute(QUERIES[name])
    await _write(course, busy, scale * WARM_UP)
    for contestant, spent in (await _write(course, busy, scale)).items():
        results.add(PART, contestant, setting, number, **spent)
    await course.ledger.execute(QUERIES["gather_statistics"])

    async def open_one() -> None:
        await course.gate.open_sale(course.new_sale_id(), AMPLE_STOCK, limit=1)

    async def list_orders() -> None:
        await course.gate.call("GET", f"/v1/orders?buyer_id={buyer_of(course.buyers - 1)}")

    results.add(PART, LISTING, setting, number, **await timed(LISTS, list_orders))
    results.add(PART, OPENING, setting, number, **await timed(OPENINGS, open_one))
    await wait_until_compared(course.ledger)


async def _write(course: _Course, busy: int, scale: float) -> dict[str, dict[str, float]]:
    """CPU time of an event of each kind, over as many busy sales; the reconciler rests."""
    each = max(BATCH, int(EVENTS * scale) // busy // BATCH * BATCH)
    partitions = [Partition(course.engine, sale_id) for sale_id in course.live[:busy]]
    firsts = range(course.buyers, course.buyers + busy * each, each)
    course.buyers += busy * each
    held = sum(one.held() for one in partitions)
    reserves = [
        one.packed("reserve", batch)
        for one, first in zip(partitions, firsts, strict=True)
        for batch in batches(first, each, BATCH)
    ]
    confirms = [
        one.packed("confirm", msgspec.msgpack.encode((token_of(buyer), f"payment-{buyer}", ())))
        for one, first in zip(partitions, firsts, strict=True)
        for buyer in range(first, first + each)
    ]
    course.stack.signal("reconciler", signal.SIGSTOP)
    try:
        spent = {RESERVES: await _drain(course, reserves, busy * each)}
        if sum(one.held() for one in partitions) != held + busy * each:
            raise RefusedError("not every reserve was accepted")
        spent[CONFIRMS] = await _drain(course, confirms, busy * each)
        if sum(one.held() for one in partitions) != held:
            raise RefusedError("not every confirm was accepted")
    finally:
        course.stack.signal("reconciler", signal.SIGCONT)
    return spent


async def _drain(course: _Course, commands: list[bytes], events: int) -> dict[str, float]:
    """Fill the outboxes while the writer is stopped; CPU microseconds of an event afterwards."""
    await _wait_for_ledger(course)
    course.stack.signal("order_writer", signal.SIGSTOP)
    try:
        course.engine.client.pipeline(commands, CALLS_UNDER_WAY)
        writer, postgres = _used(course)
    finally:
        course.stack.signal("order_writer", signal.SIGCONT)
    await _wait_for_ledger(course)
    writer, postgres = (
        after - before for after, before in zip(_used(course), (writer, postgres), strict=True)
    )
    return {
        "cpu_us": (writer + postgres) / events * 1e6,
        "writer_cpu_us": writer / events * 1e6,
        "postgres_cpu_us": postgres / events * 1e6,
    }


def _used(course: _Course) -> tuple[float, float]:
    """CPU seconds of the order writer, and of Postgres without the bench's own session."""
    own = cpu_seconds([course.ledger.get_server_pid()])
    return (
        cpu_seconds(course.stack.pids("order_writer")),
        cpu_seconds(course.stack.pids("postgres")) - own,
    )


async def _wait_for_ledger(course: _Course) -> None:
    """Wait until the ledger has everything that is in the live sales' outboxes now."""
    tail = sum(_tails(course.engine.client, course.live))

    async def has_applied() -> bool:
        return bool(await course.ledger.fetchval(QUERIES["applied_of"], course.live) >= tail)

    if not await poll_until(has_applied, DRAIN_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError(f"the ledger did not drain in {DRAIN_TIMEOUT_SECONDS:.0f} s")


def _tails(client: Client, sale_ids: Iterable[str]) -> Iterable[int]:
    """The number of each sale's newest event."""
    for sale_id in sale_ids:
        newest = client.command("XREVRANGE", f"{{{sale_id}:0}}:outbox", "+", "-", "COUNT", 1)
        yield int(newest[0][0].partition(b"-")[2])
