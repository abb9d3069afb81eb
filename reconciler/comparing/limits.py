"""Each buyer's numbers: those of Redis beside those the ledger implies.

The numbers are: what counts towards the limits, the highest admission number the buyer has spent,
how many reservations the buyer gave back unpaid, and how many of these in the latest window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from reconciler.comparing.catching_up import wait_for_ledger
from reconciler.comparing.differences import DIFFERENCES_MAX, Difference, Kind
from reconciler.comparing.paging import Scope
from reconciler.comparing.reading import (
    ADMISSION,
    GIVEN_BACK,
    UNPAID,
    UNPAID_WINDOW,
    Reading,
    read_buyers,
)
from reconciler.context import QUERIES, Context

_NAMES = {
    ADMISSION: "admission",
    GIVEN_BACK: "given_back",
    UNPAID: "unpaid",
    UNPAID_WINDOW: "unpaid_window",
}
Numbers = Mapping[int, int]  # by the keys of lua/include/record.lua


async def read_numbers(
    ledger: asyncpg.Pool,
    partition: PartitionId,
    skus: Sequence[str],
    buyers: Sequence[str],
    reading: Reading,
) -> Mapping[str, Numbers]:
    """What the ledger, which has reached the reading's position, implied for each of these buyers
    then; `skus` in the order of the items' numbers.
    """
    items = {sku: number for number, sku in enumerate(skus, start=1)}
    rows = await ledger.fetch(
        QUERIES["buyer_numbers_at"],
        partition.sale_id,
        partition.number,
        list(buyers),
        reading.position.epoch,
        reading.position.sequence,
        reading.unpaid_window_ms,
    )
    numbers: dict[str, dict[int, int]] = {buyer: {} for buyer in buyers}
    for row in rows:
        key = row["key"] if row["sku"] is None else items[row["sku"]]
        numbers[row["buyer_id"]][key] = row["number"]
    return numbers


@dataclass(slots=True)
class Limits:
    """One pass over a partition's buyers; `skus` in the order of the items' numbers."""

    scope: Scope
    skus: tuple[str, ...]
    ledger_wait_seconds: float
    differences: list[Difference] = field(default_factory=list)

    @property
    def context(self) -> Context:
        """Where both sides are read."""
        return self.scope.context

    @property
    def partition(self) -> PartitionId:
        """The partition of the buyers."""
        return self.scope.partition

    async def compare_changed(self, since: Position) -> None:
        """The buyers of reservations with an event after `since`. Raises LedgerBehind."""
        async for buyers in self.scope.changed_buyers(since):
            await self.compare(buyers)
            if self.full:
                return

    @property
    def full(self) -> bool:
        """Whether as many differences were found as are kept."""
        return len(self.differences) >= DIFFERENCES_MAX

    async def compare(self, buyers: Sequence[str]) -> None:
        """These buyers, a page at a time. Raises LedgerBehind."""
        for start in range(0, len(buyers), self.scope.page_size):
            await self._compare(buyers[start : start + self.scope.page_size])

    async def _compare(self, buyers: Sequence[str]) -> None:
        reading = await read_buyers(self.context.reader, self.partition, buyers)
        if await self._unequal(buyers, reading):
            # The ledger may have been behind: once more, at a number that it has reached.
            reading = await read_buyers(self.context.reader, self.partition, buyers)
            await wait_for_ledger(
                self.context.ledger, self.partition, reading.position, self.ledger_wait_seconds
            )
            self.differences.extend(await self._unequal(buyers, reading))

    async def _unequal(self, buyers: Sequence[str], reading: Reading) -> list[Difference]:
        ledger = await read_numbers(self.context.ledger, self.partition, self.skus, buyers, reading)
        found = []
        for buyer in buyers:
            redis = reading.numbers.get(buyer, {})
            for key in sorted(redis.keys() | ledger[buyer].keys()):
                ours, theirs = redis.get(key, 0), ledger[buyer].get(key, 0)
                if ours != theirs:
                    found.append(self._difference(buyer, key, ours, theirs))
        return found

    def _difference(self, buyer: str, key: int, redis: int, ledger: int) -> Difference:
        return Difference(
            partition=self.partition.number,
            kind=Kind.LIMIT_COUNT,
            sku=None if key in _NAMES else self._sku(key),
            buyer_id=buyer,
            field=_NAMES.get(key, "counted"),
            redis_value=str(redis),
            ledger_value=str(ledger),
        )

    def _sku(self, item: int) -> str:
        return self.skus[item - 1] if 1 <= item <= len(self.skus) else f"item {item}"
