"""Every call of the HTTP API, once: the router and the OpenAPI document come from it."""

from gateway.admission.tokens import Scope
from gateway.api.calls.demo_shop import DemoShopHandlers
from gateway.api.calls.operations import OperationHandlers
from gateway.api.calls.overview import OverviewHandlers
from gateway.api.calls.queue import QueueHandlers
from gateway.api.calls.reservations import ReservationHandlers
from gateway.api.calls.sales import SaleHandlers
from gateway.api.calls.system import SystemHandlers
from gateway.api.contract import operator_schemas, overview_schemas, requests, schemas
from gateway.api.contract.endpoints import AnyEndpoint, Endpoint, OpenEndpoint
from gateway.api.contract.overview_schemas import Alive, Health
from gateway.api.contract.requests import DemoPaymentBody
from gateway.api.contract.schemas import DemoSession
from gateway.inventory.opening import Verb
from gateway.inventory.specs import SaleSpec
from gateway.inventory.types import SaleState

_SALE = "/v1/sales/{sale}"
_RESERVATION = "/v1/reservations/{id}"
_OPS = (Scope.OPS,)
_BUYER = (Scope.BUYER,)
_STOREFRONT = (Scope.STOREFRONT,)
_OWNERS = (Scope.BUYER, Scope.STOREFRONT)
_ALL = (Scope.BUYER, Scope.STOREFRONT, Scope.OPS)
# Problem codes of every call of the kind; a call adds its own codes.
_READ = ("unauthenticated", "forbidden", "not_found", "overloaded", "recovering")
_WRITE = (
    *_READ,
    "malformed",
    "invalid",
    "too_large",
    "unsupported_media_type",
    "request_timeout",
)
_OPS_WRITE = (*_WRITE, "invalid_state", "version_mismatch")


def reservation_endpoints(handlers: ReservationHandlers) -> tuple[Endpoint, ...]:
    """Calls of buyers and storefronts."""
    reservation = schemas.ReservationAnswer
    resolved = ("hold_expired", "already_resolved")
    return (
        Endpoint(
            "POST", f"{_SALE}/reservations", "reserve", "Hold units; this is the order",
            handlers.reserve, _OWNERS, reservation,
            (*_WRITE, "idempotency_key_required", "idempotency_key_reused", "sale_not_open",
             "rate_limited", "not_admitted", "limit_exceeded", "sold_out", "ledger_behind"),
            status=201, body=requests.ReserveBody, headers=("Admission-Token",),
            required_headers=("Idempotency-Key",),
            answer_headers=("Location", "Idempotent-Replayed", "RateLimit", "RateLimit-Policy"),
        ),
        Endpoint(
            "GET", _RESERVATION, "reservation", "A reservation as it is now",
            handlers.read, _ALL, reservation, _READ,
        ),
        Endpoint(
            "POST", f"{_RESERVATION}/confirm", "confirm", "Paid: held units are sold",
            handlers.confirm, _STOREFRONT, reservation, (*_WRITE, *resolved),
            body=requests.ConfirmBody, answer_headers=("Idempotent-Replayed",),
        ),
        Endpoint(
            "POST", f"{_RESERVATION}/cancel", "cancel", "Give held units back",
            handlers.cancel, _OWNERS, reservation, (*_WRITE, *resolved),
            body=requests.EmptyBody, body_optional=True, answer_headers=("Idempotent-Replayed",),
        ),
        Endpoint(
            "POST", f"{_RESERVATION}/extend", "extend", "Hold for longer, up to the sale's cap",
            handlers.extend, _OWNERS, reservation,
            (*_WRITE, *resolved, "ledger_behind", "idempotency_key_reused", "invalid_state"),
            body=requests.ExtendBody, headers=("Idempotency-Key",),
            answer_headers=("Idempotent-Replayed",),
        ),
        Endpoint(
            "POST", f"{_RESERVATION}/returns", "returns", "Take sold units back",
            handlers.return_units, _STOREFRONT, reservation,
            (*_WRITE, "idempotency_key_required", "idempotency_key_reused", "invalid_state"),
            status=201, body=requests.ReturnBody, required_headers=("Idempotency-Key",),
            answer_headers=("Idempotent-Replayed",),
        ),
        Endpoint(
            "GET", "/v1/orders/{id}", "order", "An order with its events",
            handlers.order, _ALL, schemas.OrderAnswer, _READ,
        ),
        Endpoint(
            "GET", "/v1/orders", "orders", "Orders of a buyer, newest first",
            handlers.orders, _ALL, schemas.OrdersAnswer, (*_READ, "invalid"),
            query=("buyer_id", "cursor"),
        ),
    )  # fmt: skip


def queue_endpoints(handlers: QueueHandlers) -> tuple[Endpoint, ...]:
    """Calls of buyers in the waiting room."""
    queue = f"{_SALE}/queue"
    kept = ("Cache-Control",)
    codes = ("not_admitted", "invalid_state")
    return (
        Endpoint(
            "POST", queue, "queue_join", "Join the queue, or return the place already given",
            handlers.join, _BUYER, schemas.QueueAnswer, (*_WRITE, *codes, "sale_not_open"),
            body=requests.EmptyBody, body_optional=True, headers=("Queue-Ticket",),
            answer_headers=kept,
        ),
        Endpoint(
            "GET", queue, "queue", "The state of a ticket",
            handlers.look, _BUYER, schemas.QueueAnswer, (*_READ, *codes, "invalid"),
            required_headers=("Queue-Ticket",), answer_headers=kept,
        ),
        Endpoint(
            "DELETE", queue, "queue_leave", "Give the place up",
            handlers.leave, _BUYER, schemas.QueueLeft, (*_READ, "invalid_state"),
        ),
        Endpoint(
            "GET", f"{queue}/events", "queue_events", "The state of a ticket, as it changes",
            handlers.events, _BUYER, schemas.QueueAnswer, (*_READ, *codes, "invalid"),
            headers=("Last-Event-ID",), required_headers=("Queue-Ticket",), answer_headers=kept,
            media_type="text/event-stream", streams=True,
        ),
    )  # fmt: skip


def queue_operation_endpoints(handlers: QueueHandlers) -> tuple[AnyEndpoint, ...]:
    """Calls of operators about a waiting room, and the draw, which everybody may check."""
    queue = f"{_SALE}/queue"
    figures = operator_schemas.QueueFigures
    verbs = (
        ("pause", "pause", "Let nobody in for now"),
        ("queue-all", "queue_all", "Let nobody in, and make admitted buyers wait"),
        ("resume", "resume", "Let buyers in again"),
    )
    controls = tuple(
        Endpoint(
            "POST", f"{queue}/{word}", "queue_control", summary,
            handlers.controlling(verb), _OPS, figures, (*_WRITE, "invalid_state"),
            body=requests.EmptyBody, body_optional=True,
        )
        for word, verb, summary in verbs
    )  # fmt: skip
    return (
        Endpoint(
            "GET", f"{queue}/figures", "queue_figures", "The waiting room in figures",
            handlers.figures, _OPS, figures, (*_READ, "invalid_state"),
        ),
        *controls,
        Endpoint(
            "POST", f"{queue}/rate", "queue_control", "Bound the buyers let in per second",
            handlers.set_rate, _OPS, figures, (*_WRITE, "invalid_state"),
            body=requests.QueueRateBody,
        ),
        Endpoint(
            "POST", f"{queue}/revoke", "queue_control", "Remove a buyer from the waiting room",
            handlers.revoke, _OPS, figures, (*_WRITE, "invalid_state"),
            body=requests.QueueRevokeBody,
        ),
        OpenEndpoint(
            "GET", f"{queue}/draw", "queue_draw", "The draw: its commitment, then its seed",
            handlers.draw, schemas.DrawAnswer, ("not_found", "recovering", "invalid_state"),
            answer_headers=("Cache-Control",),
        ),
        OpenEndpoint(
            "GET", "/queue/audit", "queue_audit", "A page that checks a draw in the browser",
            handlers.audit, media_type="text/html", answer_headers=("Content-Security-Policy",),
        ),
    )  # fmt: skip


def sale_endpoints(handlers: SaleHandlers) -> tuple[Endpoint, ...]:
    """Calls of operators about a sale."""
    states = tuple(
        Endpoint(
            "POST", f"{_SALE}/{verb.value}", "sale_state", f"{verb.value.capitalize()} the sale",
            handlers.changing_state(verb), _OPS, operator_schemas.SaleAnswer, _OPS_WRITE,
            body=requests.EmptyBody, body_optional=True, headers=("If-Match",),
            answer_headers=("ETag",),
        )
        for verb in Verb
    )  # fmt: skip
    items = tuple(
        Endpoint(
            "POST", f"{_SALE}/items/{{sku}}/{word}", "item_state", f"{word.capitalize()} one item",
            handlers.changing_item(state), _OPS, operator_schemas.SaleAnswer, _OPS_WRITE,
            body=requests.EmptyBody, body_optional=True, headers=("If-Match",),
            answer_headers=("ETag",),
        )
        for word, state in (("pause", SaleState.PAUSED), ("resume", SaleState.OPEN))
    )  # fmt: skip
    return (
        Endpoint(
            "PUT", _SALE, "sale_put", "Make a sale, or replace a sale that was never open",
            handlers.put, _OPS, operator_schemas.SaleAnswer, _OPS_WRITE,
            status=201, body=SaleSpec, headers=("If-Match",), also_statuses=(200,),
            answer_headers=("ETag", "Location"),
        ),
        *states,
        Endpoint(
            "POST", f"{_SALE}/settle", "sale_state", "Close the books; Redis forgets the sale",
            handlers.settle, _OPS, operator_schemas.SaleAnswer, _OPS_WRITE,
            body=requests.EmptyBody, body_optional=True, headers=("If-Match",),
            answer_headers=("ETag",),
        ),
        *items,
        Endpoint(
            "POST", f"{_SALE}/stock-adjustments", "adjust", "Put units in or take them out",
            handlers.adjust, _OPS, operator_schemas.AdjustmentAnswer,
            (*_OPS_WRITE, "floor_violation", "ledger_behind", "idempotency_key_reused"),
            status=201, body=requests.AdjustBody, headers=("If-Match", "Idempotency-Key"),
            answer_headers=("Idempotent-Replayed",),
        ),
        Endpoint(
            "POST", f"{_SALE}/stock-adjustments/preview", "adjust_preview",
            "What an adjustment would result in", handlers.preview_adjustment, _OPS,
            operator_schemas.AdjustmentPreview, _OPS_WRITE,
            body=requests.AdjustBody, headers=("If-Match",),
        ),
        Endpoint(
            "GET", f"{_SALE}/snapshot", "snapshot", "Stock counters of the sale",
            handlers.snapshot, _OPS, operator_schemas.SnapshotAnswer, (*_READ, "invalid_state"),
        ),
        Endpoint(
            "GET", f"{_SALE}/accounting", "accounting", "The final accounting of a settled sale",
            handlers.accounting, _OPS, operator_schemas.AccountingAnswer,
            (*_READ, "invalid_state"), also_as=("text/csv",),
            answer_headers=("Vary", "Content-Disposition"),
        ),
    )  # fmt: skip


def operation_endpoints(handlers: OperationHandlers) -> tuple[Endpoint, ...]:
    """Calls that other processes answer."""
    return (
        Endpoint(
            "POST", f"{_SALE}/reconciliations", "reconcile", "Compare Redis with the ledger",
            handlers.reconcile, _OPS, operator_schemas.ReconciliationAnswer,
            (*_WRITE, "invalid_state", "ledger_behind"),
            status=201, body=requests.ReconcileBody, body_optional=True, headers=("Prefer",),
            also_statuses=(202,),
        ),
        Endpoint(
            "GET", f"{_SALE}/reconciliations", "reconciliations", "The latest reconciliations",
            handlers.reconciliations, _OPS, operator_schemas.ReconciliationsAnswer, _READ,
        ),
        Endpoint(
            "GET", f"{_SALE}/reconciliations/{{id}}", "reconciliation", "How far a comparison is",
            handlers.reconciliation, _OPS, operator_schemas.ReconciliationAnswer, _READ,
        ),
        Endpoint(
            "GET", "/v1/dead-letters", "dead_letters", "Events that could not be applied",
            handlers.dead_letters, _OPS, operator_schemas.DeadLettersAnswer, (*_READ, "invalid"),
            query=("cursor",),
        ),
        Endpoint(
            "POST", "/v1/dead-letters/{id}/replay", "dead_letter_replay", "Apply a dead letter",
            handlers.replay, _OPS, operator_schemas.DeadLetterAnswer,
            (*_WRITE, "invalid_state", "ledger_behind"),
            body=requests.EmptyBody, body_optional=True,
        ),
    )  # fmt: skip


def overview_endpoints(handlers: OverviewHandlers) -> tuple[Endpoint, ...]:
    """Operators' lists and figures."""
    return (
        Endpoint(
            "GET", "/v1/sales", "sales", "All sales, newest first",
            handlers.sales, _OPS, overview_schemas.SalesAnswer, (*_READ, "invalid"),
            query=("cursor",),
        ),
        Endpoint(
            "GET", f"{_SALE}/figures", "figures", "A sale's live figures in one call",
            handlers.figures, _OPS, overview_schemas.FiguresAnswer, _READ,
        ),
        Endpoint(
            "GET", "/v1/audit-log", "audit_log", "Who did what, newest first",
            handlers.audit_log, _OPS, overview_schemas.AuditLogAnswer, (*_READ, "invalid"),
            query=("sale_id", "cursor"),
        ),
    )  # fmt: skip


def demo_shop_endpoints(handlers: DemoShopHandlers) -> tuple[AnyEndpoint, ...]:
    """Calls that exist only in a demonstration."""
    return (
        OpenEndpoint(
            "POST", "/demo/session", "demo_shop", "Demonstration only: a new visitor's token",
            handlers.session, DemoSession, ("not_found", "overloaded", "recovering"),
        ),
        Endpoint(
            "POST", "/demo/payments", "demo_shop", "Demonstration only: buy without paying",
            handlers.pay, (Scope.BUYER,), schemas.ReservationAnswer,
            (*_WRITE, "hold_expired", "already_resolved"), body=DemoPaymentBody,
        ),
    )  # fmt: skip


def system_endpoints(handlers: SystemHandlers) -> tuple[OpenEndpoint, ...]:
    """Calls about the gateway itself: health, metrics, and the description of the API."""
    return (
        OpenEndpoint(
            "GET", "/livez", "system", "Whether the process is alive", handlers.livez, Alive,
        ),
        OpenEndpoint(
            "GET", "/readyz", "system", "Whether sales can go on, part by part", handlers.readyz,
            Health, also_statuses=(503,),
        ),
        OpenEndpoint(
            "GET", "/metrics", "system", "Counters for Prometheus, summed over the workers",
            handlers.metrics, media_type="text/plain",
        ),
        OpenEndpoint(
            "GET", "/openapi.json", "system", "This API as OpenAPI 3.1", handlers.openapi,
        ),
        OpenEndpoint(
            "GET", "/docs", "system", "This API as a page", handlers.docs, media_type="text/html",
            answer_headers=("Content-Security-Policy",),
        ),
    )  # fmt: skip


def public_sale_endpoint(handlers: SaleHandlers) -> OpenEndpoint:
    """The call that shows a sale to everybody, without a token."""
    return OpenEndpoint(
        "GET", _SALE, "sale", "A sale as everybody may see it", handlers.read,
        schemas.PublicSale, ("not_found", "recovering"), headers=("If-None-Match",),
        also_statuses=(304,), answer_headers=("ETag", "Cache-Control"),
    )  # fmt: skip
