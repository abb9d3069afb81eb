"""Operators' changes of a sale: making it, and moving it and its items through their states.

A change is written to Postgres first, with its audit row; Redis follows. When Redis cannot be
reached the intention stays and the answer is 503; a repeated call or the reconciler finishes it.
"""

import secrets

import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.api.contract.operator_schemas import SaleAnswer, WaitingRoomAnswer
from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.rendering import instant
from gateway.api.contract.versions import check_version
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.sales.directory import SaleDirectory, UnknownSale
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import running_sale
from gateway.inventory.catalog import Catalog, PartitionBounds
from gateway.inventory.keys import SALE_ID
from gateway.inventory.opening import Verb, carry_state, intend_state
from gateway.inventory.specs import SaleSpec, SpecError, parse_sale_spec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import SaleState
from gateway.process.audit import AuditAction

_REPLACEABLE = frozenset({SaleState.DRAFT, SaleState.SCHEDULED})
HASH_KEY_BYTES = 32


class PutResult(msgspec.Struct, frozen=True):
    """The sale after a PUT; `created`: the sale did not exist before."""

    sale: SaleAnswer
    created: bool


class SaleOperations:
    """Changes sales. Every method raises Problem, LedgerUnavailable or the store's errors."""

    def __init__(
        self,
        directory: SaleDirectory,
        ledger: Ledger,
        store: ReservationStore,
        bounds: PartitionBounds,
        rooms: WaitingRooms,
    ) -> None:
        """`bounds` are written into partitions when a sale is opened; `rooms` know whether a
        waiting room has buyers.
        """
        self._directory = directory
        self._ledger = ledger
        self._store = store
        self._bounds = bounds
        self._rooms = rooms

    async def put(self, sale_id: str, raw: bytes, caller: Caller) -> PutResult:
        """Make the sale, or replace it while it was never open."""
        spec = _parse_spec(sale_id, raw)
        async with self._ledger.transaction() as connection:
            created = await self._insert(connection, sale_id, spec, caller)
            if not created:
                await self._replace(connection, sale_id, spec, caller)
            await self._write_items(connection, sale_id, spec)
            action = AuditAction.SALE_CREATED if created else AuditAction.SALE_REPLACED
            await write_audit(connection, caller, action, sale_id, spec=spec)
            await connection.execute(QUERIES["tell_sale"], sale_id)
        return PutResult(await self.show(sale_id), created)

    async def change_state(self, sale_id: str, verb: Verb, caller: Caller) -> SaleAnswer:
        """open, pause, resume or close; a sale already in that state stays as it is."""
        if not SALE_ID.fullmatch(sale_id):
            raise not_found("sale")
        async with self._ledger.transaction() as connection:
            intention = await intend_state(connection, sale_id, verb, if_version=caller.if_version)
            if intention.outcome == "changed":
                await write_audit(connection, caller, AuditAction(f"sale_{verb}"), sale_id)
        match intention.outcome:
            case "not_found":
                raise not_found("sale")
            case "version_mismatch":
                check_version(caller.if_version, intention.version)
            case "invalid_state":
                raise Problem(
                    "invalid_state",
                    f"A sale that is {intention.state} does not allow {verb}.",
                    state=intention.state,
                )
        async with self._ledger.connection() as connection:
            await carry_state(connection, self._store, sale_id, self._bounds, actor=caller.subject)
        return await self.show(sale_id)

    async def change_item(
        self, sale_id: str, sku: str, to: SaleState, caller: Caller
    ) -> SaleAnswer:
        """Pause or resume one item, in every partition."""
        facts = await running_sale(self._directory, sale_id, caller)
        item = facts.catalog.sku_number(sku)
        if item is None:
            raise not_found("item")
        changed = False
        paused: set[str] = set()
        for partition in facts.partition_ids:
            outcome, _ = await self._store.set_state(partition, to, item, caller.subject)
            changed |= outcome == "changed"
            paused.update((await self._store.snapshot(partition)).paused_skus)
        if changed:
            is_pause = to is SaleState.PAUSED
            action = AuditAction.ITEM_PAUSED if is_pause else AuditAction.ITEM_RESUMED
            async with self._ledger.transaction() as connection:
                await write_audit(connection, caller, action, sale_id, sku=sku)
                await connection.execute(QUERIES["tell_sale"], sale_id)
        skus = (item.sku for item in facts.catalog.items)
        return sale_answer(facts, tuple(sku for sku in skus if sku in paused))

    async def show(self, sale_id: str) -> SaleAnswer:
        """The sale as the ledger has it now."""
        try:
            facts = await self._directory.read(sale_id)
        except UnknownSale as error:
            raise not_found("sale") from error
        rows = await self._ledger.fetch(QUERIES["paused_skus"], sale_id)
        return sale_answer(facts, tuple(row["sku"] for row in rows))

    async def _insert(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec, caller: Caller
    ) -> bool:
        if caller.if_version is not None:
            return False
        version = await connection.fetchval(
            QUERIES["insert_sale"], *_columns(sale_id, spec), secrets.token_bytes(HASH_KEY_BYTES)
        )
        return version is not None

    async def _replace(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec, caller: Caller
    ) -> None:
        row = await connection.fetchrow(QUERIES["lock_sale"], sale_id)
        if row is None:
            raise Problem("version_mismatch", "There is no such sale yet.")
        check_version(caller.if_version, row["version"])
        if row["state"] not in _REPLACEABLE:
            raise Problem(
                "invalid_state",
                f"A sale that is {row['state']} cannot be replaced.",
                state=row["state"],
            )
        await self._check_room(sale_id, row["spec"], spec)
        await connection.execute(QUERIES["replace_sale"], *_columns(sale_id, spec))
        await connection.execute(QUERIES["delete_items"], sale_id)

    async def _check_room(self, sale_id: str, stored: str, spec: SaleSpec) -> None:
        """Raise Problem where buyers have joined under an order that would be another."""
        before = msgspec.json.decode(stored, type=SaleSpec).waiting_room
        if before is None or (spec.waiting_room and spec.waiting_room.order == before.order):
            return
        if await self._rooms.has_buyers(sale_id):
            raise Problem(
                "invalid_state",
                f"Buyers have joined the waiting room: its order stays {before.order}.",
                reason="buyers",
            )

    async def _write_items(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec
    ) -> None:
        items = Catalog.of(spec).items
        await connection.execute(
            QUERIES["insert_items"],
            sale_id,
            [item.sku for item in items],
            list(range(1, len(items) + 1)),
            [item.name for item in items],
            [item.unit_price for item in items],
            [item.limit for item in items],
            [item.floor for item in items],
        )


def sale_answer(facts: SaleFacts, paused_skus: tuple[str, ...]) -> SaleAnswer:
    """The sale as operators see it, with the SKUs that are paused."""
    spec = facts.spec
    extension = spec.hold_seconds if spec.extension_seconds is None else spec.extension_seconds
    return SaleAnswer(
        sale_id=facts.sale_id,
        state=facts.state,
        version=facts.version,
        hold_seconds=spec.hold_seconds,
        extension_seconds=extension,
        partitions=spec.partitions,
        per_buyer_limit=spec.per_buyer_limit,
        split_lines=spec.split_lines,
        opens_at=instant(spec.opens_at) if spec.opens_at else None,
        closes_at=instant(spec.closes_at) if spec.closes_at else None,
        unpaid_per_buyer=spec.unpaid_per_buyer,
        unpaid_window_seconds=spec.unpaid_window_seconds,
        cooldown=spec.cooldown,
        waiting_room=_waiting_room(spec),
        items=spec.items,
        paused_skus=paused_skus,
    )


def _waiting_room(spec: SaleSpec) -> WaitingRoomAnswer | None:
    room = spec.waiting_room
    if room is None:
        return None
    prequeue_at = instant(room.prequeue_at) if room.prequeue_at else None
    return WaitingRoomAnswer(
        room.max_active_buyers, room.admission_seconds, prequeue_at, room.order
    )


def _parse_spec(sale_id: str, raw: bytes) -> SaleSpec:
    if not SALE_ID.fullmatch(sale_id):
        raise Problem("invalid", f"sale: must match {SALE_ID.pattern}.")
    try:
        return parse_sale_spec(raw)
    except SpecError as error:
        raise Problem("invalid", f"{error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed", "The body is not JSON.") from error


def _columns(sale_id: str, spec: SaleSpec) -> tuple[object, ...]:
    state = SaleState.SCHEDULED if spec.opens_at else SaleState.DRAFT
    return (
        sale_id,
        state.value,
        msgspec.json.encode(spec).decode(),
        spec.partitions,
        spec.currency,
        spec.opens_at,
        spec.closes_at,
    )
