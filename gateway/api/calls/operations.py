"""Calls that other processes answer: reconciliations and dead letters."""

import re
from collections.abc import Mapping

from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.calls.callers import caller_of
from gateway.api.contract.bodies import Decoder, query_of, read_body
from gateway.api.contract.problems import Answer, Problem, not_found
from gateway.api.contract.rendering import json_answer
from gateway.api.contract.requests import EmptyBody, ReconcileBody
from gateway.api.operations.dead_letters import DeadLetters
from gateway.api.operations.reconciliations import UNFINISHED, Reconciliations

_reconcile = Decoder(ReconcileBody)
_empty = Decoder(EmptyBody)
IDENTIFIER_DIGITS_MAX = 18
# When a caller may ask how far work is that goes on.
LOOK_AGAIN_SECONDS = 1
# The preference of RFC 7240 that bounds the wait; others are ignored, as anybody may.
_WAIT = re.compile(r"(?:^|[,;])[ \t]*wait[ \t]*=[ \t]*([0-9]{1,9})[ \t]*(?=$|[,;])", re.IGNORECASE)


class OperationHandlers:
    """Handlers of reconciliations and dead letters."""

    def __init__(
        self, reconciliations: Reconciliations, dead_letters: DeadLetters, max_body_bytes: int
    ) -> None:
        """`max_body_bytes` bounds the body of every request."""
        self._reconciliations = reconciliations
        self._dead_letters = dead_letters
        self._max_body_bytes = max_body_bytes

    async def reconcile(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/reconciliations."""
        raw = await read_body(request, self._max_body_bytes)
        body = _reconcile.decode_optional(request.headers, raw)
        run = await self._reconciliations.run(
            request.match_info["sale"],
            caller_of(request, principal),
            apply=body.apply,
            wait_seconds=preferred_wait(request.headers),
        )
        if run.status not in UNFINISHED:
            return json_answer(201, run)
        location = f"/v1/sales/{run.sale_id}/reconciliations/{run.reconciliation_id}"
        again = ("Retry-After", str(LOOK_AGAIN_SECONDS))
        return json_answer(202, run, ("Location", location), again)

    async def reconciliations(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/reconciliations."""
        return json_answer(200, await self._reconciliations.of_sale(request.match_info["sale"]))

    async def reconciliation(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/sales/{sale}/reconciliations/{id}."""
        identifier = request.match_info["id"]
        if not is_identifier(identifier):
            raise not_found("reconciliation")
        sale_id = request.match_info["sale"]
        return json_answer(200, await self._reconciliations.one(sale_id, int(identifier)))

    async def dead_letters(self, request: web.Request, _principal: Principal) -> Answer:
        """GET /v1/dead-letters."""
        cursor = query_of(request.query, "cursor")["cursor"]
        if cursor and not is_identifier(cursor):
            raise Problem("invalid", "cursor: not a cursor that this call gave out.")
        page = await self._dead_letters.page(int(cursor) if cursor else None)
        return json_answer(200, page)

    async def replay(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/dead-letters/{id}/replay."""
        raw = await read_body(request, self._max_body_bytes)
        _empty.decode_optional(request.headers, raw)
        identifier = request.match_info["id"]
        if not is_identifier(identifier):
            raise not_found("dead letter")
        caller = caller_of(request, principal)
        return json_answer(200, await self._dead_letters.replay(int(identifier), caller))


def preferred_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Prefer: wait=…`; None where the caller states none."""
    found = _WAIT.search(headers.get("Prefer", ""))
    return float(found[1]) if found else None


def is_identifier(text: str) -> bool:
    """Whether a text can be the number of a row: ASCII digits, at most 18."""
    return text.isascii() and text.isdigit() and len(text) <= IDENTIFIER_DIGITS_MAX
