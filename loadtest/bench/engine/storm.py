"""Every hold of a partition comes due at once: how long it takes, what buyers feel meanwhile."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from config.waiting import poll_until
from loadtest.bench.engine.partition import Engine, Partition, batches
from loadtest.bench.engine.server import RedisProcess
from loadtest.bench.machine.stack import StackError
from loadtest.bench.results.measurements import Results, percentile
from loadtest.bench.say import Say

PART = "storm"
DUE_TIMEOUT_SECONDS = 90.0
POLL_SECONDS = 0.1
EXPIRE_BATCH = 500  # the most holds that the sweeper returns in one call
STORM_TIMEOUT_SECONDS = 120.0
CALM_SECONDS = 2.0
RESERVES_PER_SECOND = 500
MOST_UNDER_WAY = 10_000
FIRST_BUYER = 10_000_000


async def run_storm(
    server: RedisProcess, engine: Engine, partition: Partition, results: Results, say: Say
) -> None:
    """Sweep batch after batch without a pause, as the sweeper does while holds are due."""
    await _wait_until_due(engine, partition)
    due = partition.held()
    calm = Buyers(server, partition, FIRST_BUYER)
    calm.start()
    await asyncio.sleep(CALM_SECONDS)
    before = calm.stop()
    buyers = Buyers(server, partition, 2 * FIRST_BUYER)
    buyers.start()
    started, expired = time.perf_counter(), 0
    try:
        while time.perf_counter() - started < STORM_TIMEOUT_SECONDS:
            reply = partition.call("expire", str(EXPIRE_BATCH))
            done, still_due = reply[4][:2]  # type: ignore[index] # a list, see the script's header
            expired += done
            if not still_due:
                break
    finally:
        seconds = time.perf_counter() - started
        during = buyers.stop()
    results.add(
        PART,
        "expiry storm",
        f"{due:,} holds due at once",
        1,
        expired_per_second=expired / seconds,
        storm_seconds=seconds,
        calm_p50_ms=percentile(before, 0.5),
        calm_p99_ms=percentile(before, 0.99),
        storm_p50_ms=percentile(during, 0.5),
        storm_p99_ms=percentile(during, 0.99),
        storm_max_ms=max(during, default=0.0),
    )
    tombstone = partition.bytes_of("reservations", "buyers") / max(1, expired)
    results.add(
        "memory", "tombstone of an expired hold", f"{expired:,} expired", 1, bytes=tombstone
    )
    say(
        f"  {expired:,} holds expired in {seconds:.1f} s; a reserve meanwhile took p99 "
        f"{percentile(during, 0.99):.1f} ms, before {percentile(before, 0.99):.1f} ms"
    )


async def _wait_until_due(engine: Engine, partition: Partition) -> None:
    deadlines = partition.keys["deadlines"]

    async def are_due() -> bool:
        seconds, microseconds = engine.client.command("TIME")
        now = int(seconds) * 1000 + int(microseconds) // 1000
        return bool(engine.client.command("ZCOUNT", deadlines, f"({now}", "(+inf") == 0)

    if not await poll_until(are_due, DUE_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
        raise StackError("the holds did not come due")


class Buyers:
    """Single reserves by a timetable, pipelined: late answers do not make later requests late."""

    def __init__(self, server: RedisProcess, partition: Partition, first_buyer: int) -> None:
        """Use a connection of its own."""
        self._client = server.connect()
        self._partition = partition
        self._next = first_buyer
        self._over = threading.Event()
        self._due: deque[float] = deque()
        self._sent = threading.Semaphore(0)
        self._latencies: list[float] = []
        self._failures: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._run, args=(step,), daemon=True)
            for step in (self._send, self._receive)
        ]

    def start(self) -> None:
        """Begin the timetable."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[float]:
        """Milliseconds from each reserve's due time to its reply. Raises what went wrong."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        if self._failures:
            raise self._failures[0]
        return self._latencies

    def _run(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self._failures.append(error)

    def _send(self) -> None:
        started, sent = time.perf_counter(), 0
        while not self._over.is_set() and len(self._due) < MOST_UNDER_WAY:
            due = started + sent / RESERVES_PER_SECOND
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            self._due.append(due)
            self._client.send(self._partition.packed("reserve", batches(self._next, 1, 1)[0]))
            self._next, sent = self._next + 1, sent + 1
            self._sent.release()
        self._sent.release()  # the end: no reserve is due for this release

    def _receive(self) -> None:
        while True:
            self._sent.acquire()
            if not self._due:
                return
            self._client.receive()
            self._latencies.append((time.perf_counter() - self._due.popleft()) * 1000)
