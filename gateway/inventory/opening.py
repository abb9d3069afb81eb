"""A sale's state: intended in the ledger first, then carried to its partitions.

`intend_state` writes the intended state in one transaction; opening also writes the partitions and
their stock into the ledger. `carry_state` makes the partitions follow, however far a crashed
attempt came; any process may repeat it at any time. A change of a sale calls both; the reconciler
calls `carry_state` again while ledger and partitions differ.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from config.queries import Queries
from gateway.inventory.catalog import Catalog, PartitionBounds, load_config
from gateway.inventory.errors import Recovering, ScriptFailure
from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import SaleState

QUERIES = Queries(Path(__file__).with_name("opening.sql"))
_log = structlog.get_logger()

FIRST_EPOCH = 1

LedgerConnection = asyncpg.Connection | PoolConnectionProxy


class Verb(StrEnum):
    """A change of state that an operator, or the sale's window, may request."""

    OPEN = "open"
    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"


_TARGETS = {
    Verb.OPEN: SaleState.OPEN,
    Verb.PAUSE: SaleState.PAUSED,
    Verb.RESUME: SaleState.OPEN,
    Verb.CLOSE: SaleState.CLOSED,
}
_SOURCES = {
    Verb.OPEN: frozenset({SaleState.DRAFT, SaleState.SCHEDULED}),
    Verb.PAUSE: frozenset({SaleState.OPEN}),
    Verb.RESUME: frozenset({SaleState.PAUSED}),
    Verb.CLOSE: frozenset({SaleState.SCHEDULED, SaleState.OPEN, SaleState.PAUSED}),
}


@dataclass(frozen=True, slots=True)
class Intention:
    """The result of requesting a state; `state` and `version` are the sale's afterwards."""

    outcome: Literal["changed", "unchanged", "invalid_state", "version_mismatch", "not_found"]
    state: SaleState | None = None
    version: int = 0


async def intend_state(
    connection: LedgerConnection, sale_id: str, verb: Verb, *, if_version: int | None = None
) -> Intention:
    """Write the intended state, or return why not; the current state as target is no change.

    Runs in a transaction of its own (a savepoint inside the caller's). `if_version`: the version
    that the caller has seen; at any other version nothing changes.
    """
    async with connection.transaction():
        row = await connection.fetchrow(QUERIES["lock_sale"], sale_id)
        if row is None:
            return Intention("not_found")
        state, version, target = SaleState(row["state"]), row["version"], _TARGETS[verb]
        if if_version is not None and if_version != version:
            return Intention("version_mismatch", state, version)
        if state == target:
            return Intention("unchanged", state, version)
        if state not in _SOURCES[verb]:
            return Intention("invalid_state", state, version)
        if verb is Verb.OPEN:
            await _add_partitions(connection, sale_id, _spec(row["spec"]))
            await connection.execute(QUERIES["open_early"], sale_id)
        version = await connection.fetchval(QUERIES["write_state"], sale_id, target.value)
        return Intention("changed", target, version)


async def carry_state(
    connection: LedgerConnection,
    store: ReservationStore,
    sale_id: str,
    bounds: PartitionBounds,
    *,
    actor: str,
) -> bool:
    """Bring every partition of the sale into the intended state; True when a partition changed.

    Loads a partition that Redis has never had. The ledger notes the load before anybody can
    reserve: from then on missing keys are lost data, however far the ledger has applied it, and
    raise Recovering. The sale's row is share-locked meanwhile, so that an older intention is never
    carried over a newer one. Not to be called within a transaction.
    """
    changed = False
    async with connection.transaction():
        row = await connection.fetchrow(QUERIES["hold_state"], sale_id)
        if row is None or row["state"] not in _CARRIED:
            return False
        spec = _spec(row["spec"])
        for place in await connection.fetch(QUERIES["partitions_of_sale"], sale_id):
            if not place["was_loaded"]:
                partition = PartitionId(sale_id, place["partition"])
                changed |= await _load(store, partition, load_config(spec, partition, bounds))
                seen_at = (await store.snapshot(partition)).read_at
                await connection.execute(QUERIES["note_loaded"], sale_id, partition.number, seen_at)
    async with connection.transaction():
        row = await connection.fetchrow(QUERIES["hold_state"], sale_id)
        if row is None or row["state"] not in _CARRIED:
            return changed
        # The locks on the sale's row are no change: their commit need not wait for the disk.
        await connection.execute(QUERIES["commit_without_disk"])
        for place in await connection.fetch(QUERIES["partitions_of_sale"], sale_id):
            partition = PartitionId(sale_id, place["partition"])
            changed |= await _carry(store, partition, SaleState(row["state"]), actor)
    return changed


async def open_sale(
    connection: LedgerConnection,
    store: ReservationStore,
    sale_id: str,
    bounds: PartitionBounds,
    *,
    actor: str,
    if_version: int | None = None,
) -> Intention:
    """Open a sale: in the ledger, then in Redis.

    Raises the store's errors when Redis cannot be reached; the sale is then open in the ledger, and
    the reconciler carries the state to Redis.
    """
    intention = await intend_state(connection, sale_id, Verb.OPEN, if_version=if_version)
    if intention.outcome in {"changed", "unchanged"}:
        await carry_state(connection, store, sale_id, bounds, actor=actor)
    return intention


_CARRIED = frozenset({SaleState.OPEN.value, SaleState.PAUSED.value, SaleState.CLOSED.value})


def _spec(raw: str) -> SaleSpec:
    return msgspec.json.decode(raw, type=SaleSpec)


async def _add_partitions(connection: LedgerConnection, sale_id: str, spec: SaleSpec) -> None:
    catalog = Catalog.of(spec)
    if spec.partitions != 1:
        raise ValueError(f"{sale_id}: stock is not divided over partitions yet")
    for number in range(spec.partitions):
        await connection.execute(QUERIES["add_partition"], sale_id, number)
        await connection.execute(
            QUERIES["add_accounts"],
            sale_id,
            number,
            [account.sku for account in catalog.accounts],
            [account.location for account in catalog.accounts],
            list(range(1, len(catalog.accounts) + 1)),
            [catalog.item(account.item).account_floor for account in catalog.accounts],
            [account.units for account in catalog.accounts],
        )


async def _load(store: ReservationStore, partition: PartitionId, config: bytes) -> bool:
    outcome = await store.load(partition, config, epoch=FIRST_EPOCH)
    if outcome == "other":
        raise ScriptFailure(f"{partition}: Redis has another sale under this name")
    if outcome == "loaded":
        _log.info("partition_loaded", partition=str(partition))
    return outcome == "loaded"


async def _carry(
    store: ReservationStore, partition: PartitionId, state: SaleState, actor: str
) -> bool:
    outcome, found = await store.set_state(partition, state.value, actor=actor)
    if outcome == "invalid_state" and (found, state) == ("scheduled", SaleState.PAUSED):
        # Paused before the opening reached the partition, which becomes `paused` only from `open`.
        await store.set_state(partition, SaleState.OPEN.value, actor=actor)
        outcome, found = await store.set_state(partition, state.value, actor=actor)
    if outcome == "invalid_state":
        # Only a partition older than the ledger can be in a state without a way to the intended.
        _log.error("state_not_carried", partition=str(partition), found=found, intended=state)
        raise Recovering(f"{partition}: is {found} and cannot become {state}")
    if outcome == "changed":
        _log.info("state_carried", partition=str(partition), previous=found, state=state)
    return outcome == "changed"
