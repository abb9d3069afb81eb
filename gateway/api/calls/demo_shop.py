"""Calls of the demo shop: parse, make one domain call, render."""

from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.contract.bodies import Decoder, read_body
from gateway.api.contract.problems import Answer
from gateway.api.contract.rendering import json_answer
from gateway.api.contract.requests import DemoPaymentBody
from gateway.api.reservations.demo_shop import DemoShop, check_caller_local

_payment = Decoder(DemoPaymentBody)


class DemoShopHandlers:
    """Handlers of the demo shop's calls."""

    def __init__(self, shop: DemoShop, max_body_bytes: int) -> None:
        """`max_body_bytes` bounds the body of every request."""
        self._shop = shop
        self._max_body_bytes = max_body_bytes

    async def session(self, request: web.Request) -> Answer:
        """POST /demo/session."""
        check_caller_local(request.headers)
        return json_answer(200, await self._shop.session(), ("Cache-Control", "no-store"))

    async def pay(self, request: web.Request, principal: Principal) -> Answer:
        """POST /demo/payments."""
        check_caller_local(request.headers)
        raw = await read_body(request, self._max_body_bytes)
        body = _payment.decode(request.headers, raw)
        return json_answer(200, await self._shop.pay(body.reservation_id, principal))
