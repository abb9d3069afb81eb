"""Reserves of one event-loop turn and one partition go to Redis as one script call.

While `batches_in_flight` calls are under way for a partition, arrivals gather for the next one, so
batches grow with load by themselves and an idle gateway adds no wait. A buyer who hangs
up only leaves: the call goes on, and a retry finds its result.
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
# Fewer than these are answered soon, or by an error of their own, whatever a batch takes.
BUSY_WAITING = 256
# Of a batch's own time in the average that the next ones are expected to take.
NEWEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class BatcherBounds:
    """`max_batch` requests in a call (the script takes 512), `batches_in_flight` calls a partition,
    `max_in_flight` requests in all; who would wait longer than `max_queue_seconds` for its turn is
    refused at once.
    """

    max_batch: int = 128
    batches_in_flight: int = 1
    max_in_flight: int = 8192
    max_queue_seconds: float = 1.0


@dataclass(slots=True)
class _Lane:
    """What waits and what is under way for one partition."""

    waiting: deque[tuple[ReserveRequest, asyncio.Future[ReserveReply]]] = field(
        default_factory=deque
    )
    in_flight: int = 0
    flush_due: bool = False
    began: float = 0.0  # of the call under way, on the loop's clock
    call_seconds: float = 0.0  # what a call takes, on average

    def queue_seconds(self, now: float, max_batch: int) -> float:
        """How long a request that comes now waits until its call goes out, as far as is known."""
        ahead = len(self.waiting) / max_batch * self.call_seconds
        return max(ahead, now - self.began) if self.in_flight else ahead


class ReserveBatcher:
    """See the module."""

    def __init__(self, store: ReservationStore, bounds: BatcherBounds) -> None:
        """A batcher over `store`."""
        self._store = store
        self._bounds = bounds
        self._lanes: dict[PartitionId, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = _numbers()
        self.in_flight = 0
        self.batches = 0

    def queue_seconds(self) -> float:
        """How long a request waits for its turn now, for the partition most behind."""
        now, most = asyncio.get_running_loop().time(), self._bounds.max_batch
        busy = (lane for lane in self._lanes.values() if len(lane.waiting) >= BUSY_WAITING)
        return max((lane.queue_seconds(now, most) for lane in busy), default=0.0)

    def next_number(self) -> int:
        """The number of the next request: no other request under way here has it."""
        return next(self._numbers)

    def enqueue(
        self, partition: PartitionId, request: ReserveRequest
    ) -> asyncio.Future[ReserveReply]:
        """A future with the script's answer to one request, or with Recovering or UnknownOutcome as
        the store raises them. Raises Overloaded, nothing having been sent, when too many are under
        way.
        """
        if self.in_flight >= self._bounds.max_in_flight:
            raise Overloaded(f"{self.in_flight} reserves are under way")
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane()
        elif len(lane.waiting) >= BUSY_WAITING:
            wait = lane.queue_seconds(loop.time(), self._bounds.max_batch)
            if wait > self._bounds.max_queue_seconds:
                raise Overloaded(f"{len(lane.waiting)} reserves wait, {wait:.1f} s")
        waiter: asyncio.Future[ReserveReply] = loop.create_future()
        lane.waiting.append((request, waiter))
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
            size = min(len(lane.waiting), self._bounds.max_batch)
            batch = [lane.waiting.popleft() for _ in range(size)]
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


def _numbers() -> Iterator[int]:
    """Numbers that come again only after all of NUMBERS_MAX, far more than can be under way."""
    while True:
        yield from range(NUMBERS_MAX)
