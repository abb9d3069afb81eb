"""Calls about reservations and orders: parse, make one domain call, render."""

from aiohttp import web

from gateway.admission.tokens import SUBJECT_BYTES_MAX, Principal, Scope
from gateway.api.contract.bodies import (
    Decoder,
    check_text,
    idempotency_key,
    optional_idempotency_key,
    query_of,
    read_body,
)
from gateway.api.contract.problems import Answer, Problem, not_found
from gateway.api.contract.rendering import REPLAYED, json_answer
from gateway.api.contract.requests import (
    LINE_BYTES_MAX,
    ConfirmBody,
    EmptyBody,
    ExtendBody,
    ReturnBody,
)
from gateway.api.contract.schemas import OrdersAnswer
from gateway.api.reservations.changes import ReservationService, may_see
from gateway.api.reservations.orders import OrderBook, pending_order
from gateway.api.reservations.reserve import Reserve
from gateway.api.reservations.resolutions import Resolution

_confirm = Decoder(ConfirmBody)
_extend = Decoder(ExtendBody)
_return = Decoder(ReturnBody)
_empty = Decoder(EmptyBody)


class ReservationHandlers:
    """Handlers of reservations and orders."""

    def __init__(
        self,
        reserve: Reserve,
        reservations: ReservationService,
        orders: OrderBook,
        max_body_bytes: int,
    ) -> None:
        """`max_body_bytes` bounds the body of every request."""
        self._reserve = reserve
        self._reservations = reservations
        self._orders = orders
        self._max_body_bytes = max_body_bytes

    async def reserve(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/sales/{sale}/reservations."""
        raw = await self._body(request)
        return await self._reserve(request.match_info["sale"], request.headers, raw, principal)

    async def read(self, request: web.Request, principal: Principal) -> Answer:
        """GET /v1/reservations/{id}."""
        found = await self._reservations.read(request.match_info["id"], principal)
        return json_answer(200, found)

    async def confirm(self, request: web.Request, _principal: Principal) -> Answer:
        """POST /v1/reservations/{id}/confirm."""
        body = _confirm.decode(request.headers, await self._body(request))
        check_text("payment_reference", body.payment_reference, LINE_BYTES_MAX)
        return _resolved(200, await self._reservations.confirm(request.match_info["id"], body))

    async def cancel(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/reservations/{id}/cancel."""
        _empty.decode_optional(request.headers, await self._body(request))
        done = await self._reservations.cancel(request.match_info["id"], principal)
        return _resolved(200, done)

    async def extend(self, request: web.Request, principal: Principal) -> Answer:
        """POST /v1/reservations/{id}/extend."""
        body = _extend.decode(request.headers, await self._body(request))
        key = optional_idempotency_key(request.headers)
        done = await self._reservations.extend(
            request.match_info["id"], principal, body.seconds, key
        )
        return _resolved(200, done)

    async def return_units(self, request: web.Request, _principal: Principal) -> Answer:
        """POST /v1/reservations/{id}/returns."""
        body = _return.decode(request.headers, await self._body(request))
        check_text("reason", body.reason, LINE_BYTES_MAX)
        key = idempotency_key(request.headers)
        done = await self._reservations.return_units(request.match_info["id"], key, body)
        return _resolved(201, done)

    async def order(self, request: web.Request, principal: Principal) -> Answer:
        """GET /v1/orders/{id}."""
        order_id = request.match_info["id"]
        found = await self._orders.find(order_id) if order_id.isprintable() else None
        if found is None:
            # The ledger does not have the order (yet): Redis has it, or there is no such order.
            found = pending_order(await self._reservations.read(order_id, principal))
        if not may_see(principal, found.buyer_id):
            raise not_found("order")
        return json_answer(200, found)

    async def orders(self, request: web.Request, principal: Principal) -> Answer:
        """GET /v1/orders."""
        query = query_of(request.query, "buyer_id", "cursor")
        given = query["buyer_id"]
        if principal.scope is Scope.BUYER:
            if given not in {None, principal.subject}:
                raise Problem("invalid", "buyer_id: omit it, or give the buyer of the token.")
            given = principal.subject
        if not given:
            raise Problem("invalid", "buyer_id: required, the buyer whose orders to list.")
        check_text("buyer_id", given, SUBJECT_BYTES_MAX)
        page = await self._orders.of_buyer(given, query["cursor"])
        return json_answer(200, OrdersAnswer(page.orders, page.next_cursor))

    async def _body(self, request: web.Request) -> bytes:
        return await read_body(request, self._max_body_bytes)


def _resolved(status: int, done: Resolution) -> Answer:
    return json_answer(status, done.reservation, *((REPLAYED,) if done.replayed else ()))
