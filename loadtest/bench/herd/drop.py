"""Half a million buyers of one sale, each with a token and an Idempotency-Key of their own.

Each buyer asks for one unit, and repeats the request with its key until there is an answer other
than 429 or 503. Whoever gets a hold pays at once.
"""

import asyncio
import gc
import heapq
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loadtest.bench.herd.places import Places
from loadtest.bench.sale import RESERVE_BODY, RESERVE_PATH
from loadtest.client.answers import Answer, Asked, remembered, understood
from loadtest.client.history import NO_ANSWER, History
from loadtest.client.target import mint_token

RETRY_SECONDS = 1.0  # the value of Retry-After, and the pause of a client without an answer
TRIES_MOST = 60
ALL_DONE_TIMEOUT_SECONDS = 900.0
SOLD_OUT = Answer(code="sold_out")


class DropHerd(msgspec.Struct, frozen=True, tag="drop"):
    """The task of a crowd. Buyer n has line n of `tokens`; the history is written to `history`."""

    url: str
    auth_secret: str
    sale_id: str
    tokens: str
    buyers: int
    connections: int
    history: str


class Call(msgspec.Struct, gc=False):
    """One call of one buyer, tried until answered; with a `reservation_id` it is a confirm."""

    buyer: int
    reservation_id: str = ""
    tries: int = 0


class Seen(msgspec.Struct, gc=False):
    """One try of a call."""

    call: Call
    status: int
    started: float
    ended: float
    answer: Answer
    replayed: bool
    retry_after: bool


class DropCrowd:
    """The buyers of one drop, and their answers."""

    def __init__(self, herd: DropHerd, tokens: list[bytes]) -> None:
        """Prepare; nothing is sent before `run`."""
        self._herd, self._tokens = herd, tokens
        self._fresh = iter(range(herd.buyers))
        self._paying: deque[Call] = deque()
        self._later: list[tuple[float, int, Call]] = []
        self._open = herd.buyers  # buyers whose business is not over
        self._seen: list[Seen] = []
        self._done = asyncio.Event()
        self._places = Places(herd.url, herd.connections, self)
        self.given_up = 0
        host, path = urlsplit(herd.url).netloc, RESERVE_PATH.format(sale=herd.sale_id)
        self._reserve_head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(RESERVE_BODY)}\r\nAuthorization: Bearer "
        ).encode()
        self._reserve_tail = b"\r\n\r\n" + RESERVE_BODY
        shop = mint_token(herd.auth_secret, "storefront", "bench-shop")
        self._confirm_head = (
            f" HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {shop}\r\n"
            "Content-Type: application/json\r\n"
        )

    def request(self, job: Call) -> bytes:
        """The bytes of a call."""
        if not job.reservation_id:
            token = self._tokens[job.buyer]
            key = b"\r\nIdempotency-Key: herd-%d" % job.buyer
            return b"".join((self._reserve_head, token, key, self._reserve_tail))
        body = f'{{"payment_reference":"pay-{job.buyer}"}}'
        return (
            f"POST /v1/reservations/{job.reservation_id}/confirm{self._confirm_head}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def next_job(self, now: float) -> Call | None:
        """Retries that are due, then payments, then the next buyer."""
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        if self._paying:
            return self._paying.popleft()
        buyer = next(self._fresh, None)
        return None if buyer is None else Call(buyer)

    def answered(self, job: Call, status: int, started: float, ended: float, raw: bytes) -> None:
        """Note an answer, or NO_ANSWER, and decide what the buyer does next."""
        if status == 409 and b'"sold_out"' in raw:
            seen = Seen(job, status, started, ended, SOLD_OUT, replayed=False, retry_after=False)
        else:
            head, _, body = raw.partition(b"\r\n\r\n")
            lower = head.lower()
            seen = Seen(
                *(job, status, started, ended, understood(status, body)),
                replayed=b"\r\nidempotent-replayed:" in lower,
                retry_after=b"\r\nretry-after:" in lower,
            )
        self._seen.append(seen)
        if status in {NO_ANSWER, 429, 503}:
            self._ask_again(job, ended)
        elif status in {200, 201} and not job.reservation_id:
            self._paying.append(Call(job.buyer, seen.answer.reservation_id))
            self._places.wake()
        else:
            self._leave()

    def _ask_again(self, call: Call, now: float) -> None:
        if call.tries == TRIES_MOST:
            self.given_up += 1
            self._leave()
        else:
            again = Call(call.buyer, call.reservation_id, call.tries + 1)
            heapq.heappush(self._later, (now + RETRY_SECONDS, len(self._seen), again))

    def _leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()

    async def run(self) -> None:
        """Run until every buyer has an answer and every holder has paid; raises TimeoutError."""
        connecting = asyncio.create_task(self._places.run())
        try:
            async with asyncio.timeout(ALL_DONE_TIMEOUT_SECONDS):
                await self._done.wait()
        finally:
            connecting.cancel()

    def history(self) -> History:
        """Everything that was sent and answered; complete, since no other client takes part."""
        unmet = sum(not s.call.reservation_id and s.status == 409 for s in self._seen)
        history = History(complete=True, unmet_buyers=unmet)
        unix = time.time() - time.perf_counter()
        for seen in self._seen:
            call, buyer = seen.call, f"buyer-{seen.call.buyer:07d}"
            asked = (
                Asked("confirm", "storefront", buyer, unix + seen.started, of=call.reservation_id)
                if call.reservation_id
                else Asked("reserve", "buyer", buyer, unix + seen.started, key=f"herd-{call.buyer}")
            )
            history.add(
                remembered(
                    asked,
                    seen.answer,
                    status=seen.status,
                    seconds=seen.ended - seen.started,
                    replayed=seen.replayed,
                    retry_after=seen.retry_after,
                )
            )
        return history


async def run_drop(herd: DropHerd) -> int:
    """Run the crowd to its end; returns how many buyers were given up."""
    crowd = DropCrowd(herd, Path(herd.tokens).read_bytes().split(b"\n"))
    gc.disable()  # there are no cycles here, and scanning half a million records takes time
    await crowd.run()
    crowd.history().write(Path(herd.history))
    return crowd.given_up
