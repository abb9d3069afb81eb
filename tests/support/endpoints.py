"""The table of endpoints without the parts behind it, for tests that read what it says."""

from collections.abc import Callable
from typing import Any, cast

from gateway.api.calls.table import (
    demo_shop_endpoints,
    operation_endpoints,
    overview_endpoints,
    public_sale_endpoint,
    queue_endpoints,
    queue_operation_endpoints,
    reservation_endpoints,
    sale_endpoints,
    system_endpoints,
)
from gateway.api.contract.endpoints import AnyEndpoint


class _Handlers:
    """In place of the handlers: only the table's words are read."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def api_endpoints() -> tuple[AnyEndpoint, ...]:
    """Every call below /v1, and those of a demonstration."""
    handlers = cast("Any", _Handlers())
    return (
        *reservation_endpoints(handlers),
        *queue_endpoints(handlers),
        *queue_operation_endpoints(handlers),
        *sale_endpoints(handlers),
        *operation_endpoints(handlers),
        *overview_endpoints(handlers),
        *demo_shop_endpoints(handlers),
        public_sale_endpoint(handlers),
    )


def every_endpoint() -> tuple[AnyEndpoint, ...]:
    """Every call a gateway serves."""
    return (*api_endpoints(), *system_endpoints(cast("Any", _Handlers())))
