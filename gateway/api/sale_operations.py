"""What operators do with a sale: make it, move it through its states, put stock in.

Each change is in Postgres first, with its audit row; Redis follows. Where Redis cannot be reached
the intention stands and the answer is 503: repeating the call, or the reconciler, finishes it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from gateway.api.audit import Caller, write_audit
from gateway.api.problems import Problem, not_found
from gateway.api.rendering import instant
from gateway.api.reserving import facts_or_problem
from gateway.api.sales import SQL, SaleDirectory, SaleFacts, UnknownSale
from gateway.api.schemas import AdjustmentAnswer, SaleAnswer
from gateway.api.versions import check_version
from gateway.inventory.catalog import Catalog
from gateway.inventory.errors import ScriptFailure
from gateway.inventory.keys import SALE_ID
from gateway.inventory.opening import Verb, carry_state, intend_state
from gateway.inventory.specs import UNITS_MAX, SpecError, parse_sale_spec
from gateway.inventory.types import SaleState

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    from gateway.api.ledger import Ledger
    from gateway.api.schemas import AdjustBody
    from gateway.inventory.catalog import PartitionBounds
    from gateway.inventory.specs import SaleSpec
    from gateway.inventory.store import ReservationStore

_REPLACEABLE = frozenset({SaleState.DRAFT, SaleState.SCHEDULED})
HASH_KEY_BYTES = 32
_NUMBERS = ("sku", "location", "delta", "available", "held", "sold", "floor")


class PutResult(msgspec.Struct, frozen=True):
    """The sale after a PUT; `created` when it was not there before."""

    sale: SaleAnswer
    created: bool


class SaleOperations:
    """See the module. Every method raises Problem, LedgerUnavailable or the store's errors."""

    def __init__(
        self,
        directory: SaleDirectory,
        ledger: Ledger,
        store: ReservationStore,
        bounds: PartitionBounds,
    ) -> None:
        """`bounds` go into the partitions that are opened here."""
        self._directory = directory
        self._ledger = ledger
        self._store = store
        self._bounds = bounds

    async def put(self, sale_id: str, raw: bytes, caller: Caller) -> PutResult:
        """Make the sale, or replace it while nobody can have bought."""
        spec = _parse_spec(sale_id, raw)
        async with self._ledger.transaction() as connection:
            created = await self._insert(connection, sale_id, spec, caller)
            if not created:
                await self._replace(connection, sale_id, spec, caller)
            await self._write_items(connection, sale_id, spec)
            action = "sale_created" if created else "sale_replaced"
            await write_audit(connection, caller, action, sale_id, spec=spec)
            await connection.execute(SQL["tell_sale"], sale_id)
        return PutResult(await self.show(sale_id), created)

    async def change_state(self, sale_id: str, verb: Verb, caller: Caller) -> SaleAnswer:
        """open, pause, resume or close; to the state it already has is no change."""
        if not SALE_ID.fullmatch(sale_id):
            raise not_found("sale")
        async with self._ledger.transaction() as connection:
            intention = await intend_state(connection, sale_id, verb, if_version=caller.if_version)
            if intention.outcome == "changed":
                await write_audit(connection, caller, f"sale_{verb}", sale_id)
        match intention.outcome:
            case "not_found":
                raise not_found("sale")
            case "version_mismatch":
                check_version(caller.if_version, intention.version)
            case "invalid_state":
                detail = f"A sale that is {intention.state} cannot take {verb}."
                raise Problem("invalid_state", detail, state=intention.state)
        async with self._ledger.connection() as connection:
            await carry_state(connection, self._store, sale_id, self._bounds, actor=caller.subject)
        return await self.show(sale_id)

    async def change_item(
        self, sale_id: str, sku: str, to: SaleState, caller: Caller
    ) -> SaleAnswer:
        """Pause or resume one item alone, in every partition."""
        facts = await self._running(sale_id, caller)
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
            action = "item_paused" if to is SaleState.PAUSED else "item_resumed"
            async with self._ledger.transaction() as connection:
                await write_audit(connection, caller, action, sale_id, sku=sku)
                await connection.execute(SQL["tell_sale"], sale_id)
        skus = (item.sku for item in facts.catalog.items)
        return sale_answer(facts, tuple(sku for sku in skus if sku in paused))

    async def adjust(self, sale_id: str, body: AdjustBody, caller: Caller) -> AdjustmentAnswer:
        """Put units in or take them out; refused below the floor, with the numbers."""
        if body.delta == 0:
            raise Problem("invalid", "delta: zero units change nothing.")
        facts = await self._running(sale_id, caller)
        number, partition = _account(facts, body), facts.partition_ids[0]
        account = facts.catalog.account(number)
        async with self._ledger.transaction() as connection:
            await write_audit(
                connection,
                caller,
                "stock_adjustment_asked",
                sale_id,
                sku=account.sku,
                location=account.location,
                delta=body.delta,
                reason=body.reason,
            )
        try:
            reply = await self._store.adjust(
                partition, number, body.delta, body.reason, caller.subject
            )
        except ScriptFailure as error:
            # All else was checked here; only the script knows what the sum would be.
            raise Problem("invalid", f"delta: an account holds at most {UNITS_MAX}.") from error
        done = AdjustmentAnswer(
            sale_id=sale_id,
            sku=account.sku,
            location=account.location,
            delta=body.delta,
            available=reply.available,
            held=reply.held,
            sold=reply.sold,
            floor=reply.floor,
            sequence=reply.sequence,
        )
        match reply.outcome:
            case "floor_violation":
                detail = "Less than the floor would be left."
                numbers = {name: getattr(done, name) for name in _NUMBERS}
                raise Problem("floor_violation", detail, headers=(), **numbers)
            case "closed":
                raise Problem("invalid_state", "The sale is closed.", state="closed")
            case "ledger_behind":
                raise Problem("ledger_behind", "The ledger must catch up first.")
        return done

    async def show(self, sale_id: str) -> SaleAnswer:
        """The sale as it is now in the ledger."""
        try:
            facts = await self._directory.read(sale_id)
        except UnknownSale as error:
            raise not_found("sale") from error
        rows = await self._ledger.fetch(SQL["paused_skus"], sale_id)
        return sale_answer(facts, tuple(row["sku"] for row in rows))

    async def _running(self, sale_id: str, caller: Caller) -> SaleFacts:
        """Facts of a sale whose partitions are there, as the caller has seen it."""
        await facts_or_problem(self._directory, sale_id)
        facts = await self._directory.read(sale_id)
        check_version(caller.if_version, facts.version)
        if not facts.opened or facts.state is SaleState.SETTLED:
            detail = f"A sale that is {facts.state} has no stock to change."
            raise Problem("invalid_state", detail, state=facts.state)
        return facts

    async def _insert(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec, caller: Caller
    ) -> bool:
        if caller.if_version is not None:
            return False
        version = await connection.fetchval(
            SQL["insert_sale"], *_columns(sale_id, spec), secrets.token_bytes(HASH_KEY_BYTES)
        )
        return version is not None

    async def _replace(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec, caller: Caller
    ) -> None:
        row = await connection.fetchrow(SQL["lock_sale"], sale_id)
        if row is None:
            raise Problem("version_mismatch", "There is no such sale yet.")
        check_version(caller.if_version, row["version"])
        if row["state"] not in _REPLACEABLE:
            detail = f"A sale that is {row['state']} cannot be replaced."
            raise Problem("invalid_state", detail, state=row["state"])
        await connection.execute(SQL["replace_sale"], *_columns(sale_id, spec))
        await connection.execute(SQL["delete_items"], sale_id)

    async def _write_items(
        self, connection: PoolConnectionProxy, sale_id: str, spec: SaleSpec
    ) -> None:
        items = Catalog.of(spec).items
        await connection.execute(
            SQL["insert_items"],
            sale_id,
            [item.sku for item in items],
            list(range(1, len(items) + 1)),
            [item.name for item in items],
            [item.unit_price for item in items],
            [item.limit for item in items],
            [item.floor for item in items],
        )


def sale_answer(facts: SaleFacts, paused_skus: tuple[str, ...]) -> SaleAnswer:
    """The sale as operators see it."""
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
        items=spec.items,
        paused_skus=paused_skus,
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


def _account(facts: SaleFacts, body: AdjustBody) -> int:
    """The account a SKU and location name; the only one of an item need not be named."""
    item = facts.catalog.sku_number(body.sku)
    if item is None:
        raise Problem("invalid", f"The sale has no SKU {body.sku}.", sku=body.sku)
    accounts = facts.catalog.item(item).accounts
    if body.location is None:
        if len(accounts) > 1:
            raise Problem("invalid", f"location: SKU {body.sku} has several.", sku=body.sku)
        return accounts[0]
    number = facts.catalog.account_number(body.sku, body.location)
    if number is None:
        detail = f"SKU {body.sku} has no location {body.location}."
        raise Problem("invalid", detail, sku=body.sku, location=body.location)
    return number
