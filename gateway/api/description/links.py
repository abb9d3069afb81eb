"""OpenAPI links: which operations can follow an answer, and with which of its values.

The links are the paths through the state machines. Client generators, readers, and a test that
walks the API find them in the document.
"""

from dataclasses import dataclass, field

_RESERVED = {"id": "$response.body#/reservation_id"}
_SAME = {"id": "$request.path.id"}
_SALE = {"sale": "$request.path.sale"}
_SEEN = {**_SALE, "header.If-Match": "$response.header.ETag"}
_TICKET = {**_SALE, "header.Queue-Ticket": "$response.body#/ticket"}
_ADMITTED = {**_SALE, "header.Admission-Token": "$response.body#/admission_token"}
_ITEM = {**_SALE, "sku": "$request.path.sku"}
_OF_BUYER = {"query.buyer_id": "$response.body#/buyer_id"}


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another operation; `parameters` are runtime expressions."""

    operation_id: str
    parameters: dict[str, str] = field(default_factory=dict)


def _links(parameters: dict[str, str], *operation_ids: str) -> tuple[Link, ...]:
    return tuple(Link(operation_id, parameters) for operation_id in operation_ids)


_OF_OPEN = _links(
    _SALE, "sale", "snapshot", "adjust", "pause_sale", "close_sale", "reserve", "reconcile"
)
_OF_LINE = (
    *_links(_TICKET, "queue", "queue_events"),
    Link("queue_leave", _SALE),
    Link("reserve", _ADMITTED),
)

LINKS: dict[str, tuple[Link, ...]] = {
    "reserve": (
        *_links(_RESERVED, "reservation", "confirm", "cancel", "extend", "returns", "order"),
        Link("orders", _OF_BUYER),
    ),
    "reservation": _links(_RESERVED, "confirm", "cancel", "extend"),
    "extend": _links(_RESERVED, "reservation", "confirm", "cancel"),
    "confirm": _links(_RESERVED, "reservation", "returns", "order"),
    "returns": _links(_RESERVED, "reservation", "order"),
    "cancel": _links(_RESERVED, "reservation", "order"),
    "order": (*_links(_SAME, "reservation"), Link("orders", _OF_BUYER)),
    "orders": (
        Link("order", {"id": "$response.body#/orders/0/order_id"}),
        Link(
            "orders",
            {
                "query.buyer_id": "$response.body#/orders/0/buyer_id",
                "query.cursor": "$response.body#/next_cursor",
            },
        ),
    ),
    "queue_join": _OF_LINE,
    "queue": _OF_LINE,
    "sale_put": (*_links(_SEEN, "open_sale"), Link("sale", _SALE)),
    "open_sale": _OF_OPEN,
    "resume_sale": _OF_OPEN,
    "pause_sale": _links(_SEEN, "resume_sale", "close_sale"),
    "close_sale": _links(_SEEN, "settle_sale"),
    "settle_sale": _links(_SALE, "accounting", "sale"),
    "pause_item": _links(_ITEM, "resume_item"),
    "adjust": _links(_SALE, "snapshot"),
    "reconcile": (
        *_links(_SALE, "reconciliations"),
        Link("reconciliation", {**_SALE, "id": "$response.body#/reconciliation_id"}),
    ),
    "reconciliations": (
        Link(
            "reconciliation",
            {**_SALE, "id": "$response.body#/reconciliations/0/reconciliation_id"},
        ),
    ),
    "dead_letters": (
        Link("dead_letter_replay", {"id": "$response.body#/dead_letters/0/dead_letter_id"}),
        Link("dead_letters", {"query.cursor": "$response.body#/next_cursor"}),
    ),
}
