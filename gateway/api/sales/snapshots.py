"""Stock counters of a whole sale: from its partitions or, once it is settled, from the ledger."""

import asyncio
from collections.abc import Iterable

from gateway.api.contract.operator_schemas import SnapshotAnswer, SnapshotItem, SnapshotPartition
from gateway.api.contract.problems import Problem
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import AccountCounters, SaleState, Snapshot

_COUNTERS = ("loaded", "adjusted", "transferred", "in_transit", "available", "held", "sold")


class Snapshots:
    """Reads counters; raises Problem, the store's errors or LedgerUnavailable."""

    def __init__(self, directory: SaleDirectory, store: ReservationStore, ledger: Ledger) -> None:
        """`store` reads Redis; `ledger` answers for settled sales."""
        self._directory = directory
        self._store = store
        self._ledger = ledger

    async def of_sale(self, sale_id: str) -> SnapshotAnswer:
        """The sale's stock counters as operators see them."""
        await facts_or_problem(self._directory, sale_id)
        facts = await self._directory.read(sale_id)
        if not facts.opened:
            raise Problem(
                "invalid_state",
                f"A sale that is {facts.state} has no partitions yet.",
                state=facts.state,
            )
        if facts.state is SaleState.SETTLED:
            return await self._settled(facts)
        snapshots = await self.of_partitions(facts)
        accounts = (account for snapshot in snapshots for account in snapshot.accounts)
        partitions = tuple(
            SnapshotPartition(partition.number, snapshot.epoch, snapshot.sequence, snapshot.state)
            for partition, snapshot in zip(facts.partition_ids, snapshots, strict=True)
        )
        return SnapshotAnswer(sale_id, _summed(facts, accounts), partitions)

    async def of_partitions(self, facts: SaleFacts) -> tuple[Snapshot, ...]:
        """One snapshot per partition, in the order of `facts.partition_ids`."""
        calls = (self._store.snapshot(partition) for partition in facts.partition_ids)
        return tuple(await asyncio.gather(*calls))

    async def _settled(self, facts: SaleFacts) -> SnapshotAnswer:
        rows = await self._ledger.fetch(QUERIES["final_accounting"], facts.sale_id)
        accounts = (
            AccountCounters(row["sku"], row["location"], *(row[name] for name in _COUNTERS))
            for row in rows
        )
        places = await self._ledger.fetch(QUERIES["watermarks_of_sale"], facts.sale_id)
        partitions = tuple(
            SnapshotPartition(
                place["partition"], place["epoch"], place["sequence"], facts.state.value
            )
            for place in places
        )
        return SnapshotAnswer(facts.sale_id, _summed(facts, accounts), partitions)


def _summed(facts: SaleFacts, accounts: Iterable[AccountCounters]) -> tuple[SnapshotItem, ...]:
    sums = {item.sku: dict.fromkeys(_COUNTERS, 0) for item in facts.catalog.items}
    for account in accounts:
        of_item = sums[account.sku]
        for name in _COUNTERS:
            of_item[name] += getattr(account, name)
    return tuple(SnapshotItem(sku=sku, **counters) for sku, counters in sums.items())
