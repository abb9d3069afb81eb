"""Every parameter of the API outside of bodies: in the path, the query or a header.

A path parameter is known by the word before it, since `/v1/orders/{id}` and `/v1/dead-letters/{id}`
have different ids; query and header parameters are known by their names.
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
# A bare key, or a quoted string (RFC 8941).
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
    "reservations": Parameter(Reservation, "The reservation's id."),
    "orders": Parameter(Reservation, "The reservation's id: an accepted reservation is an order."),
    "reconciliations": Parameter(Number, "The reconciliation's number."),
    "dead-letters": Parameter(Number, "The dead letter's number."),
    "buyers": Parameter(
        BuyerId, f"The buyer's id, at most {SUBJECT_BYTES_MAX} bytes, percent-encoded."
    ),
}
IN_QUERY = {
    "buyer_id": Parameter(
        BuyerId, "The buyer's id, at most 128 bytes; optional for buyers, else required."
    ),
    "sale_id": Parameter(SaleId, "Restricts the list to this sale."),
    "cursor": Parameter(
        Cursor, "`next_cursor` of the page before; empty or absent for the first page."
    ),
}
IN_HEADERS = {
    "Idempotency-Key": Parameter(
        Key,
        "1 to 255 visible ASCII characters, bare or quoted. Repeat the request with this key "
        "until there is an answer: the request takes effect once.",
    ),
    "If-Match": Parameter(
        Tag, "An ETag of the sale: change the sale only at this version. `*`: at any version."
    ),
    "If-None-Match": Parameter(str, "ETags of the caller's copies; 304 when one is current."),
    "Admission-Token": Parameter(
        str, "The admission token from the waiting room; required in a sale with a waiting room."
    ),
    "Prefer": Parameter(
        str, "`wait=SECONDS` (RFC 7240) shortens the wait for the result; 0: no wait at all."
    ),
    "Queue-Ticket": Parameter(str, "The ticket from joining the queue."),
    "Last-Event-ID": Parameter(Number, "The id of the last event received; later events follow."),
}


def path_parameters(path: str) -> list[tuple[str, Parameter]]:
    """Names and parameters of a path. Raises KeyError for a word without a parameter."""
    return [(name, IN_PATH[word]) for word, name in _IN_PATH.findall(path)]
