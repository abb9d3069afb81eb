"""Batches reserves: those of one event-loop turn and one partition go out as one script call.

A call is bounded by its requests and by their lines: Redis does nothing else during a call, and a
call's time grows with its lines.

While `batches_in_flight` calls are under way for a partition, arrivals gather for the next call, so
batches grow with the load, and an idle gateway adds no wait. When a buyer hangs up the call goes
on, and a retry finds its result.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.inventory.errors import Overloaded
from gateway.inventory.hand_out import hand_out
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import ReserveRequest

NUMBERS_MAX = 2**31
# A shorter queue is answered soon, however long a batch takes, so its wait is not estimated.
BUSY_WAITING = 256
# Weight of the newest batch in the moving average of batch time.
NEWEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class BatcherBounds:
    """Most requests per call (`max_batch`; the script accepts 512), most lines of these requests
    together (`max_lines`; a request with more goes out alone), calls under way per partition
    (`batches_in_flight`) and requests in all (`max_in_flight`). A request that would wait longer
    than `max_queue_seconds` for its turn is refused at once.
    """

    max_batch: int = 128
    max_lines: int = 256
    batches_in_flight: int = 1
    max_in_flight: int = 8192
    max_queue_seconds: float = 1.0


@dataclass(slots=True)
class _Lane:
    """The requests of one partition, waiting and under way."""

    waiting: deque[tuple[ReserveRequest, asyncio.Future[ReserveReply]]] = field(
        default_factory=deque
    )
    lines: int = 0  # of the requests that wait
    in_flight: int = 0
    flush_due: bool = False
    began: float = 0.0  # start of the newest call, on the loop's clock
    call_seconds: float = 0.0  # moving average of a call's time

    def queue_seconds(self, now: float, bounds: BatcherBounds) -> float:
        """Estimated seconds until the call of a request that comes now goes out."""
        calls = max(len(self.waiting) / bounds.max_batch, self.lines / bounds.max_lines)
        ahead = calls * self.call_seconds
        return max(ahead, now - self.began) if self.in_flight else ahead

    def next_batch(
        self, bounds: BatcherBounds
    ) -> list[tuple[ReserveRequest, asyncio.Future[ReserveReply]]]:
        """Take the requests of the next call from those that wait, at least one."""
        batch = [self.waiting.popleft()]
        lines = _line_count(batch[0][0])
        while self.waiting and len(batch) < bounds.max_batch:
            more = _line_count(self.waiting[0][0])
            if lines + more > bounds.max_lines:
                break
            batch.append(self.waiting.popleft())
            lines += more
        self.lines -= lines
        return batch


class ReserveBatcher:
    """Batches the reserves of one worker, for all partitions."""

    def __init__(self, store: ReservationStore, bounds: BatcherBounds) -> None:
        """`store` runs the scripts."""
        self._store = store
        self._bounds = bounds
        self._lanes: dict[PartitionId, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = _numbers()
        self.in_flight = 0
        self.batches = 0

    def queue_seconds(self) -> float:
        """Estimated seconds that a request waits for its turn now, in the slowest partition."""
        now = asyncio.get_running_loop().time()
        busy = (lane for lane in self._lanes.values() if len(lane.waiting) >= BUSY_WAITING)
        return max((lane.queue_seconds(now, self._bounds) for lane in busy), default=0.0)

    def next_number(self) -> int:
        """The number of the next request, unique among the requests under way."""
        return next(self._numbers)

    def enqueue(
        self, partition: PartitionId, request: ReserveRequest
    ) -> asyncio.Future[ReserveReply]:
        """A future of the script's reply to one request; it raises the store's errors. Raises
        Overloaded, before anything is sent, when too many requests are under way or waiting.
        """
        if self.in_flight >= self._bounds.max_in_flight:
            raise Overloaded(f"{self.in_flight} reserves are under way")
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane()
        elif len(lane.waiting) >= BUSY_WAITING:
            wait = lane.queue_seconds(loop.time(), self._bounds)
            if wait > self._bounds.max_queue_seconds:
                raise Overloaded(f"{len(lane.waiting)} reserves wait, {wait:.1f} s")
        waiter: asyncio.Future[ReserveReply] = loop.create_future()
        lane.waiting.append((request, waiter))
        lane.lines += _line_count(request)
        self.in_flight += 1
        if not lane.flush_due and lane.in_flight < self._bounds.batches_in_flight:
            lane.flush_due = True
            loop.call_soon(self._flush, partition, lane)
        return waiter

    async def drain(self) -> None:
        """Wait for the calls under way; each is bounded by the connection's reply timeout."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _flush(self, partition: PartitionId, lane: _Lane) -> None:
        lane.flush_due = False
        while lane.waiting and lane.in_flight < self._bounds.batches_in_flight:
            batch = lane.next_batch(self._bounds)
            lane.in_flight += 1
            task = asyncio.ensure_future(self._run(partition, lane, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        partition: PartitionId,
        lane: _Lane,
        batch: list[tuple[ReserveRequest, asyncio.Future[ReserveReply]]],
    ) -> None:
        clock = asyncio.get_running_loop().time
        lane.began = began = clock()
        self.batches += 1

        def ended() -> None:
            lane.call_seconds += NEWEST_SHARE * (clock() - began - lane.call_seconds)
            self.in_flight -= len(batch)
            lane.in_flight -= 1
            self._flush(partition, lane)
            if not lane.waiting and lane.in_flight == 0 and not lane.flush_due:
                self._lanes.pop(partition, None)

        call = self._store.reserve(partition, [request for request, _ in batch])
        await hand_out(call, [waiter for _, waiter in batch], ended)


def _line_count(request: ReserveRequest) -> int:
    """Lines of a request; each is three numbers."""
    return len(request.lines) // 3


def _numbers() -> Iterator[int]:
    """Numbers that repeat only after NUMBERS_MAX, far more than can be under way."""
    while True:
        yield from range(NUMBERS_MAX)
