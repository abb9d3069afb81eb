"""The routes of the HTTP API, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admission.tokens import Scope

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.api.handlers.reservations import ReservationHandlers
    from gateway.api.handlers.sales import SaleHandlers
    from gateway.api.handlers.system import SystemHandlers
    from gateway.api.responses import Edge

_SALE = "/v1/sales/{sale}"
_RESERVATION = "/v1/reservations/{id}"


def make_app(
    edge: Edge,
    reservations: ReservationHandlers,
    sales: SaleHandlers,
    system: SystemHandlers,
    *,
    max_body_bytes: int,
) -> web.Application:
    """The application; its one middleware is the edge."""

    @web.middleware
    async def edge_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await edge.handle(request, handler)

    app = web.Application(middlewares=[edge_middleware], client_max_size=max_body_bytes)
    buyer, storefront, ops = Scope.BUYER, Scope.STOREFRONT, Scope.OPS
    guarded = edge.guarded
    app.add_routes(
        [
            web.post(
                f"{_SALE}/reservations", guarded("reserve", reservations.reserve, buyer, storefront)
            ),
            web.get(
                _RESERVATION,
                guarded("reservation", reservations.read, buyer, storefront, ops),
            ),
            web.post(
                f"{_RESERVATION}/confirm", guarded("confirm", reservations.confirm, storefront)
            ),
            web.post(
                f"{_RESERVATION}/cancel",
                guarded("cancel", reservations.cancel, buyer, storefront),
            ),
            web.post(
                f"{_RESERVATION}/extend",
                guarded("extend", reservations.extend, buyer, storefront),
            ),
            web.post(
                f"{_RESERVATION}/returns", guarded("returns", reservations.return_units, storefront)
            ),
            web.get(
                "/v1/orders/{id}", guarded("order", reservations.order, buyer, storefront, ops)
            ),
            web.get("/v1/orders", guarded("orders", reservations.orders, buyer, storefront, ops)),
            web.put(_SALE, guarded("sale_put", sales.put, ops)),
            web.post(
                _SALE + "/{verb:open|pause|resume|close}",
                guarded("sale_state", sales.change_state, ops),
            ),
            web.post(
                _SALE + "/items/{sku}/{verb:pause|resume}",
                guarded("item_state", sales.change_item, ops),
            ),
            web.post(f"{_SALE}/stock-adjustments", guarded("adjust", sales.adjust, ops)),
            web.get("/livez", edge.open("system", system.livez)),
            web.get("/readyz", edge.open("system", system.readyz)),
            web.get("/metrics", edge.open("system", system.metrics)),
        ]
    )
    return app
