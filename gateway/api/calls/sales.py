"""Calls about sales: parse, make one domain call, render."""

from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.calls.callers import caller_of
from gateway.api.contract.bodies import (
    SPEC_MAX_BYTES,
    Decoder,
    check_json,
    check_text,
    optional_idempotency_key,
    read_body,
)
from gateway.api.contract.endpoints import Call
from gateway.api.contract.operator_schemas import SaleAnswer
from gateway.api.contract.problems import Answer
from gateway.api.contract.rendering import REPLAYED, json_answer
from gateway.api.contract.requests import LINE_BYTES_MAX, AdjustBody, EmptyBody
from gateway.api.contract.versions import is_known, version_tag
from gateway.api.sales.accounting import CSV, accounting_csv, prefers_csv
from gateway.api.sales.changes import SaleOperations
from gateway.api.sales.public import PublicSales
from gateway.api.sales.settlement import Settlement
from gateway.api.sales.snapshots import Snapshots
from gateway.api.sales.stock_adjustments import StockAdjustments
from gateway.inventory.opening import Verb
from gateway.inventory.types import SaleState

_adjust = Decoder(AdjustBody)
_empty = Decoder(EmptyBody)


class SaleHandlers:
    """Handlers of the calls about sales."""

    def __init__(
        self,
        operations: SaleOperations,
        adjustments: StockAdjustments,
        settlement: Settlement,
        snapshots: Snapshots,
        public_sales: PublicSales,
        max_body_bytes: int,
    ) -> None:
        """`max_body_bytes` bounds the body of every request except PUT."""
        self._operations = operations
        self._adjustments = adjustments
        self._settlement = settlement
        self._snapshots = snapshots
        self._public_sales = public_sales
        self._max_body_bytes = max_body_bytes

    async def put(self, request: web.Request, principal: Principal) -> Answer:
        """PUT /v1/sales/{sale}."""
        raw = await read_body(request, SPEC_MAX_BYTES)
        check_json(request.headers)
        sale_id = request.match_info["sale"]
        result = await self._operations.put(sale_id, raw, caller_of(request, principal))
        tag = version_tag(result.sale.version)
        if not result.created:
            return json_answer(200, result.sale, tag)
        return json_answer(201, result.sale, tag, ("Location", f"/v1/sales/{sale_id}"))

    def changing_state(self, verb: Verb) -> Call:
        """POST /v1/sales/{sale}/open · pause · resume · close."""

        async def change_state(request: web.Request, principal: Principal) -> Answer:
            await self._no_body(request)
            sale_id = request.match_info["sale"]
            caller = caller_of(request, principal)
            return _shown(await self._operations.change_state(sale_id, verb, caller))

        return change_state

    def changing_item(self, state: SaleState) -> Call:
        """POST /v1/sales/{sale}/items/{sku}/pause · resume."""

        async def change_item(request: web.Request, principal: Principal) -> Answer:
            await self._no_body(request)
            sale_id, sku = request.match_info["sale"], request.match_info["sku"]
            caller = caller_of(request, principal)
            return _shown(await self._operations.change_item(sale_id, sku, state, caller))

        return change_item

    async def adjust(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/stock-adjustments."""
        raw = await read_body(request, self._max_body_bytes)
        body = _adjust.decode(request.headers, raw)
        check_text("reason", body.reason, LINE_BYTES_MAX)
        key = optional_idempotency_key(request.headers)
        caller = caller_of(request, principal)
        done = await self._adjustments.adjust(request.match_info["sale"], key, body, caller)
        return json_answer(201, done.answer, *((REPLAYED,) if done.replayed else ()))

    async def preview_adjustment(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/stock-adjustments/preview."""
        body = _adjust.decode(request.headers, await read_body(request, self._max_body_bytes))
        check_text("reason", body.reason, LINE_BYTES_MAX)
        caller = caller_of(request, principal)
        shown = await self._adjustments.preview(request.match_info["sale"], body, caller)
        return json_answer(200, shown)

    async def settle(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/settle."""
        await self._no_body(request)
        sale_id = request.match_info["sale"]
        await self._settlement.settle(sale_id, caller_of(request, principal))
        return _shown(await self._operations.show(sale_id))

    async def snapshot(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/snapshot."""
        return json_answer(200, await self._snapshots.of_sale(request.match_info["sale"]))

    async def accounting(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/accounting: JSON, or CSV where Accept names CSV first."""
        found = await self._settlement.accounting(request.match_info["sale"])
        vary = ("Vary", "Accept")
        if not prefers_csv(request.headers.get("Accept", "")):
            return json_answer(200, found, vary)
        file = ("Content-Disposition", f'attachment; filename="{found.sale_id}-accounting.csv"')
        return Answer(200, accounting_csv(found), (vary, file), content_type=CSV)

    async def read(self, request: web.Request) -> Answer:
        """GET /v1/sales/{sale}: without a token; shared caches may keep the answer."""
        view = await self._public_sales.view(request.match_info["sale"])
        tag = version_tag(view.version, view.digest)
        headers = (tag, ("Cache-Control", "public, max-age=1, stale-while-revalidate=5"))
        if is_known(request.headers, tag):
            return Answer(304, b"", headers)
        return Answer(200, view.body, headers)

    async def _no_body(self, request: web.Request) -> None:
        _empty.decode_optional(request.headers, await read_body(request, self._max_body_bytes))


def _shown(sale: SaleAnswer) -> Answer:
    return json_answer(200, sale, version_tag(sale.version))
