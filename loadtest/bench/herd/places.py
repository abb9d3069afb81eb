"""Raw connections that serve one buyer after another, one request at a time on each.

Answers are parsed as little as possible: this process shares the machine with what it measures.
"""

import asyncio
import time
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from loadtest.client.history import NO_ANSWER

WATCH_PAUSE_SECONDS = 0.5
STALLED_SECONDS = 20.0  # then the connection is cut and its request sent again

Job = TypeVar("Job")


class Work(Protocol[Job]):
    """Hands out jobs, and receives the answer to each."""

    def next_job(self, now: float) -> Job | None:
        """The next job; None where there is none at the moment."""

    def request(self, job: Job) -> bytes:
        """The bytes of a call."""

    def answered(self, job: Job, status: int, started: float, ended: float, raw: bytes) -> None:
        """An answer as it came, or NO_ANSWER; times are of time.perf_counter."""


class Places(Generic[Job]):
    """Keeps `connections` connections to one address; lost ones are replaced."""

    def __init__(self, url: str, connections: int, work: Work[Job]) -> None:
        """Nothing is connected before `run`."""
        host, _, port = urlsplit(url).netloc.rpartition(":")
        self._host, self._port, self._wanted = host, int(port), connections
        self.work = work
        self.idle: list[_Place[Job]] = []
        self.all: set[_Place[Job]] = set()

    def wake(self, count: int = 1) -> None:
        """Let `count` idle connections look for a job again."""
        for _ in range(min(count, len(self.idle))):
            self.idle.pop().go_on()

    async def run(self) -> None:
        """Connect, start due jobs, and cut stalled connections; until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                for _ in range(self._wanted - len(self.all)):
                    try:
                        await loop.create_connection(lambda: _Place(self), self._host, self._port)
                    except OSError:
                        break  # the loop tries again after the pause
                await asyncio.sleep(WATCH_PAUSE_SECONDS)
                self.wake(len(self.idle))
                for place in list(self.all):
                    place.give_up_before(time.perf_counter() - STALLED_SECONDS)
        finally:
            for place in list(self.all):
                place.close()


class _Place(asyncio.Protocol, Generic[Job]):
    """One connection."""

    def __init__(self, places: Places[Job]) -> None:
        self._places = places
        self._transport: asyncio.Transport | None = None
        self._job: Job | None = None
        self._started = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's is a transport in all but name
        self._places.all.add(self)
        self.go_on()

    def go_on(self) -> None:
        """Send the next job's request, or wait for a job."""
        if self._transport is None:
            return
        now = time.perf_counter()
        job = self._places.work.next_job(now)
        if job is None:
            self._places.idle.append(self)
            return
        self._job, self._started = job, now
        self._transport.write(self._places.work.request(job))

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        at = data.find(b"ontent-Length: ", 0, end)
        if end < 0 or at < 0 or len(data) < end + 4 + int(data[at + 15 : data.index(b"\r", at)]):
            self._buffer = data
            return
        self._buffer = b""
        job, self._job = self._job, None
        if job is not None:
            ended = time.perf_counter()
            self._places.work.answered(job, int(data[9:12]), self._started, ended, data)
        self.go_on()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The request under way has no answer; `Places.run` replaces the connection."""
        self._places.all.discard(self)
        if self in self._places.idle:
            self._places.idle.remove(self)
        job, self._job, self._transport = self._job, None, None
        if job is not None:
            now = time.perf_counter()
            self._places.work.answered(job, NO_ANSWER, self._started, now, b"")

    def give_up_before(self, moment: float) -> None:
        """Cut the connection if its request was sent before this moment."""
        if self._job is not None and self._started < moment:
            self.close()

    def close(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()
