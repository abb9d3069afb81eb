"""Batches joins: joins that come in one turn of the event loop go out as one script call."""

import asyncio
from collections import deque

from gateway.admission.waiting_room.store import JoinRequest, RoomStore
from gateway.inventory.errors import Overloaded
from gateway.inventory.hand_out import hand_out

BATCH_MAX = 250
BATCHES_IN_FLIGHT = 4
WAITING_MAX = 20_000


class JoinBatcher:
    """Batches the joins of one room; a batch has joins with one value of `drawn`."""

    def __init__(self, store: RoomStore, sale_id: str) -> None:
        """Nothing is sent before the first `join`."""
        self._store = store
        self._sale_id = sale_id
        self._waiting: deque[tuple[int, JoinRequest, asyncio.Future[int]]] = deque()
        self._in_flight = 0
        self._flush_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, drawn: int, request: JoinRequest) -> asyncio.Future[int]:
        """A future of the number, 0 where the ledger must catch up first; it raises store errors.

        `drawn`: the room's value at which the request's place was computed. Raises Overloaded, at
        once, when too many joins wait.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many joins are under way")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[int] = loop.create_future()
        self._waiting.append((drawn, request, waiter))
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush)
        return waiter

    def _flush(self) -> None:
        self._flush_due = False
        while self._waiting and self._in_flight < BATCHES_IN_FLIGHT:
            drawn = self._waiting[0][0]
            batch: list[tuple[JoinRequest, asyncio.Future[int]]] = []
            while self._waiting and len(batch) < BATCH_MAX and self._waiting[0][0] == drawn:
                _, request, waiter = self._waiting.popleft()
                batch.append((request, waiter))
            self._in_flight += 1
            task = asyncio.ensure_future(self._run(drawn, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, drawn: int, batch: list[tuple[JoinRequest, asyncio.Future[int]]]) -> None:
        def ended() -> None:
            self._in_flight -= 1
            self._flush()

        call = self._store.join(self._sale_id, drawn, [request for request, _ in batch])
        await hand_out(call, [waiter for _, waiter in batch], ended)
