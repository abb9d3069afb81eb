"""Operators' calls that watch sales: parse, make one domain call, render."""

from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.calls.operations import is_identifier
from gateway.api.contract.bodies import query_of
from gateway.api.contract.problems import Answer, Problem
from gateway.api.contract.rendering import json_answer
from gateway.api.operations.overview import Overview
from gateway.inventory.keys import SALE_ID


class OverviewHandlers:
    """Handlers of the operators' lists: sales, figures, the audit log."""

    def __init__(self, overview: Overview) -> None:
        """`overview` reads what the handlers render."""
        self._overview = overview

    async def sales(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales."""
        given = query_of(request.query, "cursor")
        return json_answer(200, await self._overview.sales(given["cursor"]))

    async def figures(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/figures."""
        return json_answer(200, await self._overview.figures(request.match_info["sale"]))

    async def audit_log(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/audit-log."""
        given = query_of(request.query, "sale_id", "cursor")
        sale_id, cursor = given["sale_id"], given["cursor"]
        if sale_id is not None and not SALE_ID.fullmatch(sale_id):
            raise Problem("invalid", "sale_id: not the id of a sale.")
        if cursor and not is_identifier(cursor):
            raise Problem("invalid", "cursor: not a cursor that this call gave out.")
        page = await self._overview.audit_log(sale_id, int(cursor) if cursor else None)
        return json_answer(200, page)
