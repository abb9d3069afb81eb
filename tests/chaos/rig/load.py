"""Buyers who keep coming, at a pace, until the load is stopped; every answer is recorded.

Half of those who get a hold give it back or let it lapse, and all of them do once half of the units
are paid for: units keep moving for as long as a test takes. At the end everything that is left is
sold to those who pay.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from loadtest.client.answers import Line
from loadtest.client.calls import Calls, RefusedError, SnapshotAnswer
from loadtest.client.history import History
from loadtest.drop.buyers import (
    Buyer,
    Claim,
    Fate,
    Manner,
    Shares,
    Stock,
    ask,
    live_out,
    make_buyer,
)
from tests.support.insisting import insist
from tests.support.waiting import POLL_SECONDS, wait_until

PLACES = 10  # buyers who ask at the same time
PACE_SECONDS_MAX = 0.12  # the longest pause between two buyers of one place
SHARES = Shares(repeated=0.15, concurrent=0.08, cut=0.08, cancels=0.35, lapses=0.2, pries=0.1)
# Answers that only a working gateway on a working Redis gives.
SERVED_CODES = frozenset({"sold_out", "limit_exceeded"})
WAVE_BUYERS_MAX = 64


class Load:
    """The buyers of one sale of one SKU."""

    def __init__(
        self,
        calls: Calls,
        history: History,
        stock: Stock,
        rng: random.Random,
        shares: Shares = SHARES,
    ) -> None:
        self._calls = calls
        self._shares = shares
        self._history = history
        self._stock = stock
        self._rng = rng
        self._came = 0
        self._paid_for = 0  # units whose holder pays, or has
        self._lives: set[asyncio.Task[bool]] = set()
        self._stopping = False

    def fresh(self, since: float = 0.0) -> int:
        """Reserves accepted for the first time that were sent at `since` (Unix time) or later."""
        return sum(
            a.accepted and not a.replayed and a.started_at >= since
            for a in self._history.of("reserve")
        )

    def served(self, since: float) -> int:
        """Reserves sent at `since` or later that were decided: accepted, or nothing was left."""
        return sum(
            (a.accepted or a.code in SERVED_CODES) and a.started_at >= since
            for a in self._history.of("reserve")
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Buyers come during the block; after it every hold has met its fate."""
        self._stopping = False
        places = [asyncio.create_task(self._place()) for _ in range(PLACES)]
        try:
            yield
            self._stopping = True
            await asyncio.gather(*places)
            await asyncio.gather(*self._lives)
        finally:
            for task in (*places, *self._lives):
                task.cancel()
            await asyncio.gather(*places, *self._lives, return_exceptions=True)

    async def _place(self) -> None:
        while not self._stopping:
            buyer = self._make_buyer()
            claim = await ask(self._calls, buyer, f"{buyer.buyer_id}-1")
            if claim is not None:
                self._begin_life(claim)
            await asyncio.sleep(self._rng.uniform(0, PACE_SECONDS_MAX))  # the crowd's pace

    def _make_buyer(self) -> Buyer:
        """The next buyer. Once half of the units are paid for, paying buyers cancel instead."""
        buyer = make_buyer(self._rng, self._next_name(), (self._stock,), self._shares)
        if buyer.fate is Fate.PAYS and 2 * self._paid_for >= self._stock.units:
            return replace(buyer, fate=Fate.CANCELS)
        return buyer

    def _next_name(self) -> str:
        self._came += 1
        return f"buyer-{self._came:06d}"

    def _begin_life(self, claim: Claim) -> None:
        if claim.buyer.fate is Fate.PAYS:
            self._paid_for += sum(line.quantity for line in claim.buyer.lines)
        task = asyncio.create_task(live_out(self._calls, claim, "buyer-stranger"))
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)

    async def hang_up(self, buyers: int) -> None:
        """So many buyers cut their connection before the answer and never return."""
        await asyncio.gather(
            *(
                self._calls.reserve_and_hang_up(name, f"{name}-1", (Line(self._stock.sku, 1),))
                for name in [self._next_name() for _ in range(buyers)]
            )
        )

    async def sell_out(self) -> None:
        """Sell what is left, and what returns, to buyers who pay, and let one more ask in vain."""
        await wait_until(self._sold_out, "every unit is sold in the end")
        unit = (Line(self._stock.sku, 1),)
        late = await insist(lambda: self._calls.reserve("buyer-late", "late", unit))
        assert late.code == "sold_out", late
        self._history.unmet_buyers = 1

    async def _sold_out(self) -> bool:
        snapshot = await self._snapshot()
        if snapshot is None:
            return False
        if snapshot.sold == self._stock.units:
            return True
        count = min(snapshot.available, WAVE_BUYERS_MAX)
        await asyncio.gather(*(self._buy(self._next_name()) for _ in range(count)))
        await asyncio.sleep(POLL_SECONDS)
        return False

    async def _snapshot(self) -> SnapshotAnswer | None:
        try:
            return await self._calls.snapshot()
        except RefusedError as error:
            raise AssertionError(str(error)) from error

    async def _buy(self, name: str) -> None:
        buyer = Buyer(
            *(name, (Line(self._stock.sku, 1),), Manner.ONCE, Fate.PAYS),
            is_pried=False, think_seconds=0.0, asks_twice=False,
        )  # fmt: skip
        claim = await ask(self._calls, buyer, f"{name}-1")
        if claim is not None:
            await live_out(self._calls, claim, "buyer-stranger")
