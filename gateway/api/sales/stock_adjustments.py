"""Stock adjustments: an operator adds units to a sale's stock, or takes units out."""

from typing import Any, Literal

import msgspec

from gateway.api.contract.operator_schemas import AdjustmentAnswer, AdjustmentPreview
from gateway.api.contract.problems import Problem
from gateway.api.contract.requests import AdjustBody
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import running_sale
from gateway.inventory.catalog import CatalogAccount
from gateway.inventory.errors import Overloaded, Recovering, ScriptFailure, UnknownOutcome
from gateway.inventory.keys import keyed_token
from gateway.inventory.outcomes import AdjustReply
from gateway.inventory.specs import UNITS_MAX
from gateway.inventory.store import NO_ADJUST_KEY, AdjustKey, ReservationStore
from gateway.process.audit import AuditAction

Refusal = Literal["floor_violation", "invalid_state", "ledger_behind"]

_REFUSALS: dict[str, Refusal] = {
    "floor_violation": "floor_violation",
    "closed": "invalid_state",
    "ledger_behind": "ledger_behind",
}


_UNKNOWN = (
    "Whether the adjustment was made is unknown. Look at the snapshot before you repeat it; "
    "with an Idempotency-Key it could be repeated at once."
)
_UNKNOWN_WITH_KEY = (
    "Whether the adjustment was made is unknown. Repeat it with the same Idempotency-Key."
)


class Adjusted(msgspec.Struct, frozen=True):
    """An adjustment; `replayed` when the call had been made before with this key."""

    answer: AdjustmentAnswer
    replayed: bool


class StockAdjustments:
    """Makes and previews adjustments; each adjustment has its audit row before it is made."""

    def __init__(self, directory: SaleDirectory, ledger: Ledger, store: ReservationStore) -> None:
        """`ledger` has the audit log, `store` the stock in Redis."""
        self._directory = directory
        self._ledger = ledger
        self._store = store

    async def adjust(
        self, sale_id: str, key: str | None, body: AdjustBody, caller: Caller
    ) -> Adjusted:
        """Add units or take units out; with a `key` once, however often the call is repeated.

        Raises Problem: floor_violation with the counters, idempotency_key_reused, and recovering
        where the outcome is unknown.
        """
        facts, number = await self._asked(sale_id, body, caller)
        account = facts.catalog.account(number)
        detail: dict[str, object] = {} if key is None else {"idempotency_key": key}
        async with self._ledger.transaction() as connection:
            await write_audit(
                connection,
                caller,
                AuditAction.STOCK_ADJUSTMENT_ASKED,
                sale_id,
                sku=account.sku,
                location=account.location,
                delta=body.delta,
                reason=body.reason,
                **detail,
            )
        once = NO_ADJUST_KEY if key is None else _once(facts, key, account, body)
        try:
            reply = await self._insisted(facts, number, body, caller, once)
        except UnknownOutcome as error:
            raise Problem("recovering", _UNKNOWN if key is None else _UNKNOWN_WITH_KEY) from error
        figures = _figures(account, body, reply)
        match reply.outcome:
            case "key_reused":
                raise Problem(
                    "idempotency_key_reused", "This key was used with another adjustment."
                )
            case "too_many":
                raise Problem(
                    "invalid_state",
                    "The sale keeps no more keys today; wait, or put several deltas into one.",
                    reason="adjustment_keys",
                )
            case "floor_violation":
                raise Problem(
                    "floor_violation",
                    "The stock would fall below its floor.",
                    headers=(),
                    **figures,
                )
            case "closed":
                raise Problem("invalid_state", "The sale is closed.", state="closed")
            case "ledger_behind":
                raise Problem("ledger_behind", "The ledger must catch up first.")
        answer = AdjustmentAnswer(**figures, sale_id=sale_id, sequence=reply.sequence)
        return Adjusted(answer, replayed=reply.outcome == "replayed")

    async def preview(self, sale_id: str, body: AdjustBody, caller: Caller) -> AdjustmentPreview:
        """The result that the adjustment would have now; the script of `adjust` computes it."""
        facts, number = await self._asked(sale_id, body, caller)
        account = facts.catalog.account(number)
        reply = await self._decided(facts, number, body, caller, NO_ADJUST_KEY, preview=True)
        refusal = _REFUSALS.get(reply.outcome)
        return AdjustmentPreview(
            **_figures(account, body, reply),
            sale_id=sale_id,
            available_after=None if refusal else reply.available + body.delta,
            refusal=refusal,
        )

    async def _asked(self, sale_id: str, body: AdjustBody, caller: Caller) -> tuple[SaleFacts, int]:
        """The sale, and the number of the account that the body names. Raises Problem."""
        if body.delta == 0:
            raise Problem("invalid", "delta: zero units change nothing.")
        facts = await running_sale(self._directory, sale_id, caller)
        return facts, _account(facts, body)

    async def _insisted(
        self,
        facts: SaleFacts,
        number: int,
        body: AdjustBody,
        caller: Caller,
        once: AdjustKey,
    ) -> AdjustReply:
        """The reply; with a key the call is made once more where its outcome was lost."""
        try:
            return await self._decided(facts, number, body, caller, once)
        except UnknownOutcome:
            if once is NO_ADJUST_KEY:
                raise
        try:
            return await self._decided(facts, number, body, caller, once)
        except (Overloaded, Recovering) as error:
            raise UnknownOutcome("the first call's reply was lost") from error

    async def _decided(
        self,
        facts: SaleFacts,
        number: int,
        body: AdjustBody,
        caller: Caller,
        once: AdjustKey,
        *,
        preview: bool = False,
    ) -> AdjustReply:
        try:
            return await self._store.adjust(
                facts.partition_ids[0],
                number,
                body.delta,
                body.reason,
                caller.subject,
                preview=preview,
                once=once,
            )
        except ScriptFailure as error:
            # Every other fault was excluded before; only the script knows the sum.
            raise Problem("invalid", f"delta: an account holds at most {UNITS_MAX}.") from error


def _once(facts: SaleFacts, key: str, account: CatalogAccount, body: AdjustBody) -> AdjustKey:
    asked = (account.sku, account.location, str(body.delta), body.reason)
    return AdjustKey(
        keyed_token(facts.hash_key, "adjust", facts.sale_id, key),
        keyed_token(facts.hash_key, *asked)[:11],
    )


def _figures(account: CatalogAccount, body: AdjustBody, reply: AdjustReply) -> dict[str, Any]:
    """The members that every answer has: the account, the delta and the counters."""
    return {
        "sku": account.sku,
        "location": account.location,
        "delta": body.delta,
        "available": reply.available,
        "held": reply.held,
        "sold": reply.sold,
        "floor": reply.floor,
    }


def _account(facts: SaleFacts, body: AdjustBody) -> int:
    """The account of a SKU and location; an item's only location may be omitted."""
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
        raise Problem(
            "invalid",
            f"SKU {body.sku} has no location {body.location}.",
            sku=body.sku,
            location=body.location,
        )
    return number
