"""What many live holds cost: memory, and the time of one more reserve."""

import time

from loadtest.bench.engine.client import Client
from loadtest.bench.engine.partition import (
    HOLD_KEYS,
    Engine,
    Partition,
    assembled_scripts,
    batches,
)
from loadtest.bench.engine.server import run_redis
from loadtest.bench.engine.storm import run_storm
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

PART, MEMORY_PART = "holds", "memory"
LEVELS = (1_000, 100_000, 1_000_000)
MEMORY_LEVEL = 100_000
BATCH = 100
CALLS_UNDER_WAY = 10
FILL_CHUNK = 100_000
SAMPLES, SAMPLE_RESERVES = 5, 2_000
STOCK = 1_000_000_000
# Longer than filling takes, so that the holds are live while they are counted.
HOLD_MILLISECONDS = 45_000


async def run_holds(options: Options, results: Results, say: Say) -> None:
    """Fill one partition level by level, measure at each, then let everything expire."""
    levels = [max(1_000, int(level * options.scale)) for level in LEVELS]
    async with run_redis() as server:
        engine = Engine(server.connect(), assembled_scripts())
        partition = engine.open_partition("holds", STOCK, HOLD_MILLISECONDS)
        held = 0
        for level in levels:
            _fill(partition, held, level)
            held = level
            setting = f"{level:,} live holds"
            if level >= min(MEMORY_LEVEL, levels[-1]):
                for name in HOLD_KEYS:
                    bytes_each = partition.bytes_of(name) / held
                    results.add(MEMORY_PART, f"{name} of a hold", setting, 1, bytes=bytes_each)
                total = partition.bytes_of(*HOLD_KEYS) / held
                results.add(MEMORY_PART, "active hold", setting, 1, bytes=total)
                outbox = partition.bytes_of("outbox") / held
                results.add(MEMORY_PART, "outbox entry", setting, 1, bytes=outbox)
                say(f"  {setting}: {total:.0f} bytes each, outbox {outbox:.0f}")
            held = _cost(engine.client, partition, (held, setting), results)
        await run_storm(server, engine, partition, results, say)


def _fill(partition: Partition, start: int, end: int) -> None:
    for first in range(start, end, FILL_CHUNK):
        count = min(FILL_CHUNK, end - first)
        partition.reserve_all(batches(first, count // BATCH * BATCH, BATCH), CALLS_UNDER_WAY)


def _cost(client: Client, partition: Partition, level: tuple[int, str], results: Results) -> int:
    held, setting = level
    for sample in range(1, SAMPLES + 1):
        arguments = batches(held, SAMPLE_RESERVES, BATCH)
        before, started = client.cpu_seconds(), time.perf_counter()
        partition.reserve_all(arguments, CALLS_UNDER_WAY)
        seconds, cpu = time.perf_counter() - started, client.cpu_seconds() - before
        results.add(
            PART,
            "one more reserve, batch of 100",
            setting,
            sample,
            per_second=SAMPLE_RESERVES / seconds,
            redis_cpu_us=cpu / SAMPLE_RESERVES * 1e6,
        )
        held += SAMPLE_RESERVES
    return held
