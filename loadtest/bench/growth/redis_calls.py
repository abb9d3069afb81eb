"""Redis' CPU for a reserve against SKUs of the sale, locations of a SKU and lines of the request.

Each call has one request, as when a gateway has nothing to put together. `redis_cpu_us` is CPU time
with that for protocol and append-only file; `us_per_call` is Redis' own figure of the script alone
(`INFO commandstats`), by the clock, so it grows on a busy machine. A round measures every point
once, on a partition of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.bench.engine.client import Client, RefusedError
from loadtest.bench.engine.partition import Engine, assembled_scripts, single
from loadtest.bench.engine.server import run_redis
from loadtest.bench.growth.levels import scaled, setting_of
from loadtest.bench.options import Options
from loadtest.bench.results.measurements import Results
from loadtest.bench.say import Say

PART = "growth_redis"
STOCK = 1_000_000
HOLD_MILLISECONDS = 3_600_000
LINES = (1, 4, 16, 64)
RESERVED_LINES = 4_000  # of each point, however many lines a call has
CALLS_LEAST, CALLS_WARM_UP = 20, 50
CALLS_UNDER_WAY = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What grows, and how: `sale` gives SKUs and locations of a size, `lines` those of a buyer."""

    contestant: str
    noun: str
    levels: tuple[int, ...]
    sale: Callable[[int], tuple[int, int]]
    lines: Callable[[int, int], tuple[int, ...]]


def _of_any_sku(skus: int, buyer: int) -> tuple[int, ...]:
    return (1 + buyer % skus, 0, 1)


def _of_first_sku(_locations: int, _buyer: int) -> tuple[int, ...]:
    return (1, 0, 1)


def _of_many_skus(lines: int, _buyer: int) -> tuple[int, ...]:
    return tuple(part for item in range(1, lines + 1) for part in (item, 0, 1))


SKUS = Shape(
    "reserve, by SKUs of the sale", "SKU", (1, 10, 100, 1_000), lambda n: (n, 1), _of_any_sku
)
LOCATIONS = Shape(
    "reserve, by locations of the SKU", "location", (1, 10, 50, 400), lambda n: (1, n),
    _of_first_sku,
)  # fmt: skip
# The sale has 64 SKUs at every point, so that nothing but the lines differs.
REQUEST_LINES = Shape(
    "reserve, by lines of the request", "line", LINES, lambda _n: (LINES[-1], 1), _of_many_skus
)
SHAPES = (SKUS, LOCATIONS, REQUEST_LINES)


async def run_calls(options: Options, results: Results, say: Say) -> None:
    """Run all rounds on one Redis."""
    async with run_redis() as server:
        client = server.connect()
        engine = Engine(client, assembled_scripts())
        for number in range(1, options.rounds + 1):
            for shape in SHAPES:
                # A request has as many lines at every scale: 64 are the most there may be.
                scale = 1.0 if shape is REQUEST_LINES else options.scale
                for size in scaled(shape.levels, scale):
                    us, cpu_us = _measure(engine, shape, size, options.scale)
                    setting = setting_of(size, shape.noun)
                    results.add(
                        PART, shape.contestant, setting, number, us_per_call=us, redis_cpu_us=cpu_us
                    )
            say(f"  round {number} of reserves in Redis done")
        client.close()


def _measure(engine: Engine, shape: Shape, size: int, scale: float) -> tuple[float, float]:
    """Microseconds of a call by Redis' own count, and of CPU with the work around the call."""
    skus, locations = shape.sale(size)
    partition = engine.open_partition("grown", STOCK, HOLD_MILLISECONDS, skus, locations)
    lines = len(shape.lines(size, 0)) // 3
    calls = max(CALLS_LEAST, int(RESERVED_LINES * scale) // lines)
    commands = [
        partition.packed("reserve", single(buyer, shape.lines(size, buyer)))
        for buyer in range(CALLS_WARM_UP + calls)
    ]
    client = engine.client
    client.pipeline(commands[:CALLS_WARM_UP], CALLS_UNDER_WAY)
    client.command("CONFIG", "RESETSTAT")
    before = client.cpu_seconds()
    client.pipeline(commands[CALLS_WARM_UP:], CALLS_UNDER_WAY)
    cpu_us = (client.cpu_seconds() - before) / calls * 1e6
    us = _us_per_call(client)
    if partition.held() != len(commands):
        raise RefusedError(f"not every reserve was accepted: {setting_of(size, shape.noun)}")
    partition.drop()
    return us, cpu_us


def _us_per_call(client: Client) -> float:
    info: bytes = client.command("INFO", "commandstats")
    return parse_us_per_call(info.decode(), "evalsha")


def parse_us_per_call(info: str, command: str) -> float:
    """Microseconds of a call, in the text of `INFO commandstats`; 0 where none was made."""
    for line in info.splitlines():
        name, _, fields = line.partition(":")
        if name == f"cmdstat_{command}":
            found = dict(field.split("=", 1) for field in fields.split(","))
            return float(found["usec_per_call"])
    return 0.0
