"""Settling a sale: its final accounting goes to the ledger, and Redis forgets the sale.

The order of steps makes a crash at any point safe: first the ledger must have every event, then the
accounting and the state are written, then the keys are removed, in each partition only if nothing
happened in it since the check. A repeated call finishes what a crash left, and so does the
reconciler.
"""

import redis.asyncio as redis_py
from asyncpg.pool import PoolConnectionProxy

from gateway.admission.waiting_room.keys import every_room_key
from gateway.api.contract.operator_schemas import AccountingAnswer
from gateway.api.contract.problems import Problem
from gateway.api.contract.versions import check_version
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.accounting import read_accounting, store_accounting
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem
from gateway.api.sales.snapshots import Snapshots
from gateway.inventory.events import Position
from gateway.inventory.settled.retirement import retire
from gateway.inventory.types import SaleState
from gateway.process.audit import AuditAction


class Settlement:
    """Settles sales, and reads the accounting of settled sales."""

    def __init__(
        self,
        directory: SaleDirectory,
        ledger: Ledger,
        snapshots: Snapshots,
        client: redis_py.Redis,
    ) -> None:
        """`client` removes keys; it must not retry on its own."""
        self._directory = directory
        self._ledger = ledger
        self._snapshots = snapshots
        self._client = client

    async def settle(self, sale_id: str, caller: Caller) -> None:
        """Closed → settled. Raises Problem invalid_state while units are held, dead letters are
        open, or the ledger is behind; Recovering when keys could not be removed.
        """
        await facts_or_problem(self._directory, sale_id)
        facts = await self._directory.read(sale_id)
        check_version(caller.if_version, facts.version)
        if facts.state not in {SaleState.CLOSED, SaleState.SETTLED}:
            raise Problem(
                "invalid_state",
                f"A sale that is {facts.state} cannot be settled; close it first.",
                state=facts.state,
            )
        if facts.state is SaleState.CLOSED:
            await self._write(facts, caller)
        await self._retire(facts, caller)

    async def accounting(self, sale_id: str) -> AccountingAnswer:
        """The final accounting of a settled sale. Raises Problem not_found or invalid_state."""
        await facts_or_problem(self._directory, sale_id)
        async with self._ledger.connection() as connection:
            accounting = await read_accounting(connection, sale_id)
        if accounting is None:
            raise Problem("invalid_state", "The sale is not settled yet.")
        return accounting

    async def _write(self, facts: SaleFacts, caller: Caller) -> None:
        """The final accounting and the state, in one transaction."""
        positions = await self._quiet_positions(facts) if facts.opened else {}
        async with self._ledger.transaction() as connection:
            row = await connection.fetchrow(QUERIES["lock_sale"], facts.sale_id)
            if row is None or row["state"] != SaleState.CLOSED:
                raise Problem("invalid_state", "The sale's state has just changed; ask again.")
            await self._check_ledger(connection, facts, positions)
            accounting = await store_accounting(connection, facts.sale_id, caller.subject)
            await write_audit(
                connection, caller, AuditAction.SALE_SETTLED, facts.sale_id, accounting=accounting
            )
            await connection.execute(QUERIES["settle_sale"], facts.sale_id)

    async def _quiet_positions(self, facts: SaleFacts) -> dict[int, Position]:
        """The position of each partition. Raises Problem while one holds units or is not closed."""
        positions: dict[int, Position] = {}
        for partition, snapshot in zip(
            facts.partition_ids, await self._snapshots.of_partitions(facts), strict=True
        ):
            held = sum(account.held for account in snapshot.accounts)
            if held:
                raise Problem("invalid_state", "Units are still held.", reason="held", held=held)
            if snapshot.state != SaleState.CLOSED:
                raise Problem("invalid_state", "A partition is not closed yet.", reason="state")
            positions[partition.number] = snapshot.position
        return positions

    async def _check_ledger(
        self,
        connection: PoolConnectionProxy,
        facts: SaleFacts,
        positions: dict[int, Position],
    ) -> None:
        """Raise Problem while the ledger lacks an event or has an open dead letter."""
        letters = await connection.fetchval(QUERIES["count_open_letters"], facts.sale_id)
        if letters:
            raise Problem(
                "invalid_state",
                "Dead letters must be replayed or dismissed first.",
                reason="void",
                dead_letters=letters,
            )
        for place in await connection.fetch(QUERIES["watermarks_of_sale"], facts.sale_id):
            applied = Position(place["epoch"], place["sequence"])
            if place["stopped_reason"] or applied != positions.get(place["partition"]):
                raise Problem(
                    "invalid_state", "The ledger has not applied every event yet.", reason="behind"
                )

    async def _retire(self, facts: SaleFacts, caller: Caller) -> None:
        """Remove the keys; undo the settlement when a partition has moved. The reconciler does the
        same where this process does not come to it.
        """
        async with self._ledger.transaction() as connection:
            outcome = await retire(connection, self._client, facts.sale_id, every_room_key)
            if outcome == "taken_back":
                await write_audit(connection, caller, AuditAction.SALE_UNSETTLED, facts.sale_id)
        if outcome != "removed":
            raise Problem(
                "invalid_state",
                "An event came in meanwhile; settle the sale again.",
                reason="behind",
            )
