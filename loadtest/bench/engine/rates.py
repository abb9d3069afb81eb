"""Reserves per second in Redis alone: one by one and in batches, both fsync modes, beside DECR."""

import asyncio
import shutil
import time

from loadtest.bench.engine.client import RefusedError
from loadtest.bench.engine.partition import Engine, assembled_scripts, batches
from loadtest.bench.engine.server import RedisProcess, run_redis
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

PART = "engine"
SIZES = (1, 16, 64, 256)
MODES = ("always", "everysec")
RESERVES = 51_200  # a multiple of every size
REQUESTS_UNDER_WAY = 1024
CALLS_UNDER_WAY_ONE_BY_ONE = 128
STOCK = 1_000_000_000
HOLD_MILLISECONDS = 3_600_000
DECRS = 1_000_000
DECR_TIMEOUT_SECONDS = 60.0


async def run_rates(options: Options, results: Results, say: Say) -> None:
    """Run all rounds; a round has every size and mode once."""
    count = max(256, int(RESERVES * options.scale) // 256 * 256)
    packed = {size: batches(0, count, size) for size in SIZES}
    async with run_redis() as server:
        client = server.connect()
        engine = Engine(client, assembled_scripts())
        for number in range(1, options.rounds + 1):
            for mode in MODES:
                client.command("CONFIG", "SET", "appendfsync", mode)
                for size in SIZES:
                    _one_run(engine, packed[size], (size, mode, number, STOCK), results)
                _one_run(engine, packed[64], (64, mode, number, 0), results)
                rate = await _decr_rate(server, options.scale)
                if rate:
                    results.add(PART, "redis-benchmark DECR -P 16", mode, number, per_second=rate)
            say(f"  engine round {number} done")
        client.close()


def _one_run(
    engine: Engine,
    arguments: list[bytes],
    how: tuple[int, str, int, int],
    results: Results,
) -> None:
    size, mode, number, stock = how
    partition = engine.open_partition(f"rate-{size}-{mode}-{number}", stock, HOLD_MILLISECONDS)
    commands = [partition.packed("reserve", one) for one in arguments]
    reserves = len(arguments) * size
    depth = CALLS_UNDER_WAY_ONE_BY_ONE if size == 1 else max(1, REQUESTS_UNDER_WAY // size)
    before, started = engine.client.cpu_seconds(), time.perf_counter()
    engine.client.pipeline(commands, depth)
    seconds, cpu = time.perf_counter() - started, engine.client.cpu_seconds() - before
    if partition.held() != (reserves if stock else 0):
        raise RefusedError(f"not every reserve was {'accepted' if stock else 'refused'}")
    name = "one by one, pipelined" if size == 1 else f"batch of {size}"
    results.add(
        PART,
        name if stock else f"{name}, sold out",
        mode,
        number,
        per_second=reserves / seconds,
        redis_cpu_us=cpu / reserves * 1e6,
    )
    partition.drop()


def parse_redis_benchmark(output: str) -> float:
    """Requests per second of the last test in `redis-benchmark --csv` output; 0 for none."""
    for line in reversed(output.splitlines()):
        fields = [part.strip('"') for part in line.split('","')]
        if len(fields) > 1 and fields[1].replace(".", "", 1).isdigit():
            return float(fields[1])
    return 0.0


async def _decr_rate(server: RedisProcess, scale: float) -> float:
    if shutil.which("redis-benchmark") is None:
        return 0.0
    process = await asyncio.create_subprocess_exec(
        *("redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "--csv"),
        *("-n", str(max(10_000, int(DECRS * scale))), "-P", "16", "-c", "50", "DECR", "bench:decr"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(DECR_TIMEOUT_SECONDS):
        output, _ = await process.communicate()
    return parse_redis_benchmark(output.decode())
