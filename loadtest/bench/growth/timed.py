"""How long single calls take, one after the other."""

import time
from collections.abc import Awaitable, Callable

from loadtest.bench.results.measurements import percentile


async def timed(calls: int, call: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Milliseconds of as many calls: `p50_ms` and `p99_ms`."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}
