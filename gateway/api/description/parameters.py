"""Every parameter of the API that is not in a body: in the path, the query or a header.

A path parameter is known by the word before it, so `/v1/orders/{id}` and `/v1/dead-letters/{id}`
are two; the others by their names.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from gateway.admission.tokens import SUBJECT_BYTES_MAX
from gateway.api.contract.requests import BuyerId
from gateway.inventory.keys import NAME, SALE_ID

_IN_PATH = re.compile(r"/([a-z-]+)/{(\w+)}")

SaleId = Annotated[str, msgspec.Meta(pattern=f"^{SALE_ID.pattern}$", examples=["summer-drop"])]
Sku = Annotated[str, msgspec.Meta(pattern=f"^{NAME.pattern}$", examples=["print-a2"])]
Reservation = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{SALE_ID.pattern}\.[0-9]{{1,4}}\.[A-Za-z0-9_-]{{22}}$",
        examples=["summer-drop.0.wHyr31ky6qeG0hqHGDT4eQ"],
    ),
]
Number = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$", examples=["17"])]
# Bare, or as a quoted string (RFC 8941).
Key = Annotated[
    str,
    msgspec.Meta(
        pattern=r'^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$',
        examples=["checkout-81723"],
    ),
]
Cursor = Annotated[str, msgspec.Meta(max_length=512)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern="^[ -~]+$")]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `type` is an annotated string type."""

    type: Any
    description: str
    required: bool = False


IN_PATH = {
    "sales": Parameter(SaleId, "The sale's id."),
    "items": Parameter(Sku, "A SKU of the sale."),
    "reservations": Parameter(Reservation, "What the reservation's answer called it."),
    "orders": Parameter(Reservation, "The reservation's id: an accepted reservation is an order."),
    "dead-letters": Parameter(Number, "Its number in the list of dead letters."),
    "buyers": Parameter(
        BuyerId, f"The buyer's id, at most {SUBJECT_BYTES_MAX} bytes; percent-encode what needs it."
    ),
}
IN_QUERY = {
    "buyer_id": Parameter(
        BuyerId, "Whose. A buyer may leave it out; others must give it. At most 128 bytes."
    ),
    "sale_id": Parameter(SaleId, "Only what is about this sale."),
    "cursor": Parameter(
        Cursor, "`next_cursor` of the page before; empty or left out for the first."
    ),
}
IN_HEADERS = {
    "Idempotency-Key": Parameter(
        Key,
        "1 to 255 visible ASCII characters, bare or quoted. Repeat the request with the same key "
        "until there is an answer: it takes effect once.",
        required=True,
    ),
    "If-Match": Parameter(
        Tag, "An ETag of the sale: change it only if it is still that version. `*` is any."
    ),
    "If-None-Match": Parameter(str, "ETags that are at hand: 304 where one is still right."),
    "Admission-Token": Parameter(
        str, "What the waiting room gave; required where the sale has one."
    ),
    "Queue-Ticket": Parameter(str, "The ticket that joining the queue gave."),
    "Last-Event-ID": Parameter(Number, "The last event that arrived, to go on after it."),
}


def path_parameters(path: str) -> list[tuple[str, Parameter]]:
    """Name and parameter of each in a path. KeyError for a word that has none here."""
    return [(name, IN_PATH[word]) for word, name in _IN_PATH.findall(path)]
