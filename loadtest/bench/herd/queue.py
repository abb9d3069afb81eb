"""A million buyers of a waiting room: everybody joins, then tickets are polled for a while."""

import asyncio
import gc
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loadtest.bench.herd.places import Places

_TICKET = re.compile(rb'"ticket":"([^"]+)"')
ALL_DONE_TIMEOUT_SECONDS = 900.0
RETRY_SECONDS = 0.2
STRIDE = 7919  # a prime, so that polls come from everywhere in the line


class QueueHerd(msgspec.Struct, frozen=True, tag="queue"):
    """The task of a crowd: the first `buyers` of `tokens` join, or poll with their `tickets`."""

    url: str
    sale_id: str
    tokens: str
    tickets: str
    buyers: int
    connections: int
    poll_seconds: float  # 0: join
    result: str


class QueueResult(msgspec.Struct, frozen=True):
    """A crowd's result. `refused`: joins that were sent again, or polls answered other than 200."""

    answered: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float


class QueueCrowd:
    """Joins, each until it is answered; or polls by one ticket after another."""

    def __init__(self, herd: QueueHerd, tokens: list[bytes], tickets: list[bytes]) -> None:
        """Prepare; nothing is sent before `run`."""
        self._herd, self._tokens, self.tickets = herd, tokens, tickets
        self._next, self._again = 0, list[int]()
        self._times: list[float] = []
        self._refused = 0
        self._ends_at = float("inf")
        self._done = asyncio.Event()
        self._places = Places(herd.url, herd.connections, self)
        path = f"/v1/sales/{herd.sale_id}/queue"
        host = f" HTTP/1.1\r\nHost: {urlsplit(herd.url).netloc}\r\n"
        self._join_head = f"POST {path}{host}Content-Length: 0\r\nAuthorization: Bearer ".encode()
        self._poll_head = f"GET {path}{host}Authorization: Bearer ".encode()

    def request(self, job: int) -> bytes:
        """The bytes of a buyer's call."""
        if not self._herd.poll_seconds:
            return self._join_head + self._tokens[job] + b"\r\n\r\n"
        ticket = b"\r\nQueue-Ticket: " + self.tickets[job] + b"\r\n\r\n"
        return self._poll_head + self._tokens[job] + ticket

    def next_job(self, now: float) -> int | None:
        """The next buyer; polls go round until the time is over."""
        if self._herd.poll_seconds:
            if now >= self._ends_at:
                self._done.set()
                return None
            self._next = (self._next + STRIDE) % self._herd.buyers
            return self._next
        if self._again:
            return self._again.pop()
        if self._next == self._herd.buyers:
            return None
        self._next += 1
        return self._next - 1

    def answered(self, job: int, status: int, started: float, ended: float, raw: bytes) -> None:
        """Keep the ticket; a buyer who was refused or not answered joins again."""
        if status == 200:
            self._times.append((ended - started) * 1000)
            if not self._herd.poll_seconds:
                self._keep_ticket(job, raw)
            return
        self._refused += 1
        if not self._herd.poll_seconds:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._again.append, job)

    def _keep_ticket(self, buyer: int, raw: bytes) -> None:
        found = _TICKET.search(raw)
        self.tickets[buyer] = found[1] if found else b""
        if len(self._times) == self._herd.buyers:
            self._done.set()

    async def run(self) -> QueueResult:
        """Run until every buyer has joined, or the polls' time is over; raises TimeoutError."""
        began = time.perf_counter()
        if self._herd.poll_seconds:
            self._ends_at = began + self._herd.poll_seconds
        connecting = asyncio.create_task(self._places.run())
        try:
            async with asyncio.timeout(ALL_DONE_TIMEOUT_SECONDS):
                await self._done.wait()
        finally:
            connecting.cancel()
        seconds = time.perf_counter() - began
        ordered = sorted(self._times) or [0.0]
        p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
        return QueueResult(len(self._times), self._refused, seconds, p50, p99)


async def run_queue(herd: QueueHerd) -> int:
    """Write the result, and after joins the tickets, one a line; returns 0."""
    tokens = Path(herd.tokens).read_bytes().split(b"\n")
    tickets = [b""] * herd.buyers
    if herd.poll_seconds:
        tickets = Path(herd.tickets).read_bytes().split(b"\n")
    crowd = QueueCrowd(herd, tokens, tickets)
    gc.disable()  # there are no cycles here, and scanning a million tokens takes time
    result = await crowd.run()
    if not herd.poll_seconds:
        Path(herd.tickets).write_bytes(b"\n".join(crowd.tickets))
    Path(herd.result).write_bytes(msgspec.json.encode(result))
    return 0
