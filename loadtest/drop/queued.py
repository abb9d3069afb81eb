"""A drop with a waiting room: pre-queue, a draw at the opening, and buyers let in as units last.

All buyers stand in line before the sale opens. Whoever is let in reserves and pays, cancels or lets
the hold lapse; returned units are for the next in line, until everything is sold.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from loadtest.client.calls import Calls
from loadtest.client.history import NO_ANSWER
from loadtest.drop.buyers import Buyer, Fate, Shares, Stock, ask, live_out, make_buyer

UNITS, BUYERS, HOLD_SECONDS = 100, 1000, 2
ROOM = {"max_active_buyers": 400, "admission_seconds": 5, "order": "draw"}
LOOK_AGAIN_MOST_SECONDS = 1.0
PREQUEUE_SECONDS = 2
RUN_TIMEOUT_SECONDS = 180.0
SKU = "night-runner-1-of-100"


class QueueFigures(msgspec.Struct, frozen=True):
    """The outcome of a drop through the waiting room."""

    buyers: int
    in_line_before_opening: int
    let_in: int
    told_sold_out: int
    sold: int
    units: int
    seconds: float


class QueuedDrop:
    """One drop through a waiting room, on a new sale."""

    def __init__(self, calls: Calls, operations: Calls, seed: int = 1) -> None:
        """Nothing is sent before `run`."""
        self._calls, self._operations = calls, operations
        self._rng = random.Random(seed)
        self._opens_at = 0.0  # on the event loop's clock
        self._in_line = self._let_in = self._told_sold_out = 0

    def _spec(self) -> bytes:
        now = datetime.now(UTC)
        return msgspec.json.encode(
            {
                "hold_seconds": HOLD_SECONDS,
                "per_buyer_limit": 1,
                "items": [
                    {"sku": SKU, "price": {"amount": 19900, "currency": "EUR"}, "stock": UNITS}
                ],
                "opens_at": now + timedelta(seconds=PREQUEUE_SECONDS),
                "waiting_room": {**ROOM, "prequeue_at": now - timedelta(seconds=1)},
            }
        )

    async def run(self) -> QueueFigures:
        """From the pre-queue until all is sold; raises RefusedError where the sale cannot be made.

        At the time limit the drop ends; the verdict then judges what has happened until then.
        """
        loop = asyncio.get_running_loop()
        self._opens_at = loop.time() + PREQUEUE_SECONDS
        await self._operations.create(self._spec())
        crowd = [
            make_buyer(self._rng, f"fan-{n:05d}", (Stock(SKU, UNITS, 1),), Shares(pries=0.0))
            for n in range(BUYERS)
        ]
        visits = [asyncio.create_task(self._visit(buyer)) for buyer in crowd]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
                    await asyncio.gather(*visits)
            seconds = loop.time() - self._opens_at
        finally:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
        snapshot = await self._operations.snapshot()
        sold = snapshot.sold if snapshot else 0
        return QueueFigures(
            BUYERS, self._in_line, self._let_in, self._told_sold_out, sold, UNITS, seconds
        )

    async def _visit(self, buyer: Buyer) -> None:
        """Stand in line, and buy when let in."""
        if await self._wait(buyer.buyer_id):
            self._let_in += 1
            if self._let_in > UNITS:  # so that the last units go to buyers who pay
                buyer = replace(buyer, fate=Fate.PAYS)
            claim = await ask(self._calls, buyer, f"{buyer.buyer_id}-1")
            if claim is not None:
                await live_out(self._calls, claim, "fan-stranger")

    async def _wait(self, buyer_id: str) -> bool:
        """Join, and poll as often as the answers say; returns whether the buyer was let in."""
        loop, ticket = asyncio.get_running_loop(), ""
        while True:
            call = "poll" if ticket else "join"
            attempt, answer = await self._calls.queue(call, buyer_id, ticket)
            is_early = loop.time() < self._opens_at
            self._in_line += call == "join" and attempt.status == 200 and is_early
            ticket = answer.ticket or ticket
            if attempt.status == 200 and answer.state != "waiting":
                self._told_sold_out += answer.state == "sold_out"
                return answer.state == "admitted"
            if attempt.status not in {200, 503, NO_ANSWER}:
                return False  # the turn has come and gone between two looks
            pause_seconds = answer.poll_after_seconds or LOOK_AGAIN_MOST_SECONDS
            left = self._opens_at - loop.time() if ticket else 0.0
            await asyncio.sleep(max(left, min(pause_seconds, LOOK_AGAIN_MOST_SECONDS)))
