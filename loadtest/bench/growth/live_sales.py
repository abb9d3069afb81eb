"""Cost against live sales: what an idle installation uses of a core, and a scrape of `/metrics`.

Nobody buys meanwhile. One stack grows from point to point; a point is measured once a round.
"""

import asyncio
import time

import asyncpg

from loadtest.bench.growth.levels import scaled, setting_of
from loadtest.bench.growth.sales import open_sales
from loadtest.bench.growth.timed import timed
from loadtest.bench.machine.cpu import cpu_seconds
from loadtest.bench.machine.gate import Gate
from loadtest.bench.machine.stack import Stack, run_stack
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

PART, NOUN = "growth_live", "live sale"
IDLE, SCRAPE = "idle", "scrape of /metrics"
LEVELS = (1, 100, 1_000)
PROCESSES = ("redis", "postgres", "reconciler", "gateway", "order_writer")
IDLE_SECONDS = 5.0
SCRAPES = 20


async def run_live(options: Options, results: Results, say: Say) -> None:
    """Open more and more sales, and look at each point as often as there are rounds."""
    async with run_stack(1) as stack, Gate.of(stack) as gate:
        ledger = await asyncpg.connect(stack.running.postgres)
        try:
            opened = 0
            for level in scaled(LEVELS, options.scale):
                await open_sales(gate, ledger, [f"live-{n}" for n in range(opened, level)])
                opened = level
                setting = setting_of(level, NOUN)
                for number in range(1, options.rounds + 1):
                    results.add(PART, IDLE, setting, number, **await _idle(stack))
                    scrapes = await timed(SCRAPES, lambda: gate.call("GET", "/metrics"))
                    results.add(PART, SCRAPE, setting, number, **scrapes)
                say(f"  {level:,} live sales done")
        finally:
            await ledger.close()


async def _idle(stack: Stack) -> dict[str, float]:
    """Percent of a core that each kind of process uses while nobody asks for anything."""
    before = {name: cpu_seconds(stack.pids(name)) for name in PROCESSES}
    began = time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    seconds = time.perf_counter() - began
    return {
        f"{name}_percent": (cpu_seconds(stack.pids(name)) - used) / seconds * 100
        for name, used in before.items()
    }
