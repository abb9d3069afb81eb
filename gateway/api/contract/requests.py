"""Bodies of requests, as types: what is not of these shapes gets no further.

Unknown fields are refused, integers are integers (neither 1.0 nor "1" nor true).
"""

from typing import Annotated

import msgspec

from gateway.inventory.specs import Name

Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Delta = Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
# No control characters; the scripts bound the same texts in bytes, so the handlers check those too.
Line255 = Annotated[
    str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")
]
BuyerId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")
]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller sends."""


class LineBody(_Body, frozen=True):
    """Units of one SKU; without a location the sale's order of preference decides."""

    sku: Name
    quantity: Quantity
    location: Name | None = None


Lines = Annotated[tuple[LineBody, ...], msgspec.Meta(min_length=1, max_length=64)]


class ReserveBody(_Body, frozen=True):
    """`buyer_id` is for storefronts; a buyer's own is in the token."""

    lines: Lines
    buyer_id: BuyerId | None = None


class ConfirmBody(_Body, frozen=True):
    """Without lines: all of it."""

    payment_reference: Line255
    lines: Lines | None = None


class ExtendBody(_Body, frozen=True):
    """How much later the deadline shall be."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class ReturnBody(_Body, frozen=True):
    """Without lines: all that is left."""

    restock: bool
    reason: Line255
    lines: Lines | None = None


class AdjustBody(_Body, frozen=True):
    """Units put into (positive) or taken out of (negative) a SKU's stock at a location."""

    sku: Name
    delta: Delta
    reason: Line255
    location: Name | None = None


class ReconcileBody(_Body, frozen=True):
    """`apply`: repair what differs."""

    apply: bool = False


class EmptyBody(_Body, frozen=True):
    """Calls that take no body also take an empty object."""


class QueueRateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Most buyers called in a second, 0.001 to 1,000,000; null for no bound of the operator's."""

    per_second: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None


class QueueRevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to turn out, and why; the reason is kept in the audit log."""

    buyer_id: BuyerId
    reason: Line255


class DemoPaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a visitor pays for."""

    reservation_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
