"""A drop: a crowd competes for a few units until every unit is sold.

First the rush: all buyers come at once, as fast as the connections let them. Most go without; some
of those who got a hold let it lapse or cancel. Then the refill: what returned is bought by those
who went without, wave by wave, until nothing is left.
"""

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from config.waiting import poll_until
from loadtest.client.answers import Line
from loadtest.client.calls import Calls, SnapshotAnswer
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

SNAPSHOT_PAUSE_SECONDS = 0.25
RECONCILE_PAUSE_SECONDS = 2.0
REFILL_TIMEOUT_SECONDS = 300.0
WAVE_BUYERS_MAX = 400
# In the first waves of the refill holders may still lapse or cancel, while at least so many units
# are free: the last units go to buyers who pay.
FICKLE_WAVES, FICKLE_UNITS_MIN = 2, 20
GREEDY_TRIES = 20  # reserves of one greedy account, each with a key of its own


@dataclass(frozen=True, slots=True)
class DropOptions:
    """Size, connections and seed of a drop."""

    buyers: int = 20_000
    connections: int = 96
    seed: int = 1
    greedy_accounts: int = 25
    shares: Shares = field(default_factory=Shares)


class _ItemSpec(msgspec.Struct, frozen=True):
    sku: str
    stock: int | None = None
    locations: dict[str, int] = {}
    floor: int = 0
    per_buyer_limit: int | None = None


class _Spec(msgspec.Struct, frozen=True):
    items: tuple[_ItemSpec, ...]
    per_buyer_limit: int = 1


def stock_of(spec: bytes) -> tuple[Stock, ...]:
    """What a sale's file has to sell, down to the floor; raises msgspec.ValidationError."""
    sale = msgspec.json.decode(spec, type=_Spec)
    return tuple(
        Stock(
            item.sku,
            (item.stock if item.stock is not None else sum(item.locations.values())) - item.floor,
            item.per_buyer_limit or sale.per_buyer_limit,
        )
        for item in sale.items
    )


class Drop:
    """One drop on one open sale."""

    def __init__(
        self,
        calls: Calls,
        operations: Calls,
        history: History,
        stock: Sequence[Stock],
        options: DropOptions,
    ) -> None:
        """Prepare; nothing is sent yet. `operations` has connections the crowd cannot occupy."""
        self._calls = calls
        self._operations = operations
        self._history = history
        self._stock = stock
        self._options = options
        self._rng = random.Random(options.seed)
        self._unserved: list[Buyer] = []
        self._lives: set[asyncio.Task[bool]] = set()
        self.snapshot: SnapshotAnswer | None = None
        self.rush_attempts = 0
        self._waves = 0
        self.balanced_reconciliations = 0
        self.unbalanced: list[str] = []

    @property
    def units(self) -> int:
        """Units the sale has to sell."""
        return sum(item.units for item in self._stock)

    @property
    def unserved(self) -> int:
        """How many buyers wanted a unit and have none."""
        return len(self._unserved)

    @property
    def is_sold_out(self) -> bool:
        """Every unit is paid for, by the last snapshot."""
        return self.snapshot is not None and self.snapshot.sold >= self.units

    def _crowd(self) -> Iterator[Buyer]:
        for number in range(self._options.buyers):
            yield make_buyer(self._rng, f"buyer-{number:06d}", self._stock, self._options.shares)

    def _begin_life(self, claim: Claim) -> None:
        stranger = f"buyer-{self._rng.randrange(self._options.buyers):06d}"
        if stranger == claim.buyer.buyer_id:
            stranger = "buyer-stranger"
        task = asyncio.create_task(live_out(self._calls, claim, stranger))
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)

    async def _serve(self, buyer: Buyer, key: str) -> bool:
        claim = await ask(self._calls, buyer, key)
        if claim is not None:
            self._begin_life(claim)
        return claim is not None

    async def _come(self, crowd: Iterator[Buyer]) -> None:
        """One place in the crowd: the next buyer comes as soon as the last buyer has left."""
        for buyer in crowd:
            served = await self._serve(buyer, f"{buyer.buyer_id}-1")
            if not served and buyer.asks_twice:
                served = await self._serve(buyer, f"{buyer.buyer_id}-2")
            if not served:
                self._unserved.append(buyer)

    async def _be_greedy(self, number: int) -> None:
        """One account that asks many times at once and may keep no more than its limit."""
        item = self._stock[number % len(self._stock)]
        buyer = Buyer(
            f"greedy-{number:04d}", (Line(item.sku, 1),), Manner.ONCE, Fate.PAYS,
            is_pried=False, think_seconds=0.5, asks_twice=False,
        )  # fmt: skip
        await asyncio.gather(
            *(self._serve(buyer, f"{buyer.buyer_id}-{n}") for n in range(GREEDY_TRIES))
        )

    async def rush(self) -> None:
        """Every buyer comes once."""
        crowd = self._crowd()
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.greedy_accounts):
                group.create_task(self._be_greedy(number))
            for _ in range(self._options.connections):
                group.create_task(self._come(crowd))
        self.rush_attempts = len(self._history.attempts)

    async def refill(self) -> None:
        """Buyers who went without come back for returned units, until all is sold or demand ends.

        The refill also goes on until a reconciliation was answered.
        """
        # At the bound the drop ends; unsold units are then a failure of the demonstration.
        with suppress(TimeoutError):
            async with asyncio.timeout(REFILL_TIMEOUT_SECONDS):
                await poll_until(self._refill_once, math.inf, first_seconds=SNAPSHOT_PAUSE_SECONDS)

    async def _refill_once(self) -> bool:
        """Send a wave of buyers where units are free; True once all is sold or demand has ended."""
        if self.is_sold_out and (self.balanced_reconciliations or self.unbalanced):
            return True
        await self._take_snapshot()
        if not self._unserved and not self._lives:
            return True
        if self.snapshot is not None and self.snapshot.available > 0 and self._unserved:
            self._waves += 1
            await self._wave(self._waves, self.snapshot)
        return False

    async def _wave(self, number: int, snapshot: SnapshotAnswer) -> None:
        wanted = [item.sku for item in snapshot.items for _ in range(max(0, item.available))]
        self._rng.shuffle(wanted)
        is_fickle = number <= FICKLE_WAVES and len(wanted) >= FICKLE_UNITS_MIN
        # Twice as many buyers as units, so that the wave, too, is a competition.
        count = min(WAVE_BUYERS_MAX, 2 * len(wanted), len(self._unserved))
        self._rng.shuffle(self._unserved)
        coming = [self._unserved.pop() for _ in range(count)]

        async def come_back(buyer: Buyer, sku: str) -> None:
            fate = buyer.fate if is_fickle else Fate.PAYS
            returning = replace(
                buyer, lines=(Line(sku, 1),), fate=fate, is_pried=False, manner=Manner.ONCE
            )
            if not await self._serve(returning, f"{buyer.buyer_id}-w{number}"):
                self._unserved.append(buyer)

        await asyncio.gather(*(come_back(b, wanted[i % len(wanted)]) for i, b in enumerate(coming)))

    async def _take_snapshot(self) -> None:
        snapshot = await self._operations.snapshot()
        if snapshot is not None:
            self.snapshot = snapshot

    async def watch(self) -> None:
        """Keep `snapshot` fresh, until cancelled."""
        while True:
            await self._take_snapshot()
            await asyncio.sleep(SNAPSHOT_PAUSE_SECONDS)

    async def reconcile(self) -> None:
        """Reconcile again and again while the load runs, until cancelled."""
        while True:
            answer = await self._operations.reconcile()
            if answer is not None and answer.balanced:
                self.balanced_reconciliations += 1
            elif answer is not None:
                self.unbalanced.extend(bytes(raw).decode() for raw in answer.differences)
            await asyncio.sleep(RECONCILE_PAUSE_SECONDS)

    async def finish(self) -> None:
        """Let every hold meet its fate, and note how many buyers went without."""
        await asyncio.gather(*self._lives)
        await self._take_snapshot()
        self._history.unmet_buyers = len(self._unserved)
