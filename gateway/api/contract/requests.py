"""Bodies of requests, as types: a body of another shape is refused.

Unknown fields are refused; an integer must be an integer (neither 1.0 nor "1" nor true).
"""

from typing import Annotated

import msgspec

from gateway.admission.tokens import SUBJECT_BYTES_MAX
from gateway.inventory.specs import Name

Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Delta = Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]
# Text without control characters. The scripts bound its length in bytes, so handlers check that
# too.
LINE_BYTES_MAX = 255
_PRINTED = r"^[^\x00-\x1f\x7f]*$(?!\n)"
TextLine = Annotated[str, msgspec.Meta(min_length=1, max_length=LINE_BYTES_MAX, pattern=_PRINTED)]
BuyerId = Annotated[str, msgspec.Meta(min_length=1, max_length=SUBJECT_BYTES_MAX, pattern=_PRINTED)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that a caller sends."""


class LineBody(_Body, frozen=True):
    """Units of one SKU; without a location the sale's order of preference chooses."""

    sku: Name
    quantity: Quantity
    location: Name | None = None


Lines = Annotated[tuple[LineBody, ...], msgspec.Meta(min_length=1, max_length=64)]


class ReserveBody(_Body, frozen=True):
    """`buyer_id`: only from storefronts; for a buyer the token names the buyer."""

    lines: Lines
    buyer_id: BuyerId | None = None


class ConfirmBody(_Body, frozen=True):
    """`lines`: the units to confirm; without lines the whole reservation."""

    payment_reference: TextLine
    lines: Lines | None = None


class ExtendBody(_Body, frozen=True):
    """`seconds`: how much later the deadline becomes."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class ReturnBody(_Body, frozen=True):
    """`lines`: the units to return; without lines every unit not yet returned."""

    restock: bool
    reason: TextLine
    lines: Lines | None = None


class AdjustBody(_Body, frozen=True):
    """Units put into (positive) or taken out of (negative) a SKU's stock at a location."""

    sku: Name
    delta: Delta
    reason: TextLine
    location: Name | None = None


class ReconcileBody(_Body, frozen=True):
    """`apply`: repair the differences in Redis."""

    apply: bool = False


class EmptyBody(_Body, frozen=True):
    """The empty object, for calls without a body."""


class QueueRateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Most buyers called per second, 0.001 to 1,000,000; null removes the operator's bound."""

    per_second: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None


class QueueRevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The buyer to remove, and the reason for the audit log."""

    buyer_id: BuyerId
    reason: TextLine


class DemoPaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reservation that a visitor pays for."""

    reservation_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
