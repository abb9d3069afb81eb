"""The body of a problem as types: what all have, and what those of each code say beside that.

Problems are rendered from what is at hand where they are raised (problems.py); these types describe
them to the outside.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.api.contract.schemas import Instant, LineAnswer, OwnHold


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. Decide on `code`; `title` belongs to the code, `detail` to the occurrence."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class _Members(msgspec.Struct, frozen=True):
    """Further members of a problem; those that may be missing have a default."""


class SoldOut(_Members, frozen=True):
    """`own_holds`: the caller's own holds, at most 8, which may be what is missing."""

    sku: str
    own_holds: tuple[OwnHold, ...]


class LimitExceeded(_Members, frozen=True, kw_only=True):
    """`own_holds`: the caller's own holds, at most 8; cancel one to make room. Without `sku` it is
    the number of unpaid reservations, for which there is no room to be made.
    """

    sku: str | UnsetType = UNSET
    limit: int
    own_holds: tuple[OwnHold, ...]


class SaleNotOpen(_Members, frozen=True):
    """`sku` where only that item is paused."""

    state: str
    sku: str | UnsetType = UNSET


class NotAdmitted(_Members, frozen=True):
    """Why the buyer is not let in. Of an admission: `missing` (also where it is none of the
    buyer's, or is not honoured now), `spent` or `expired`. Of a ticket: `ticket` (none of this
    buyer's for this sale), `ended` (its place had its time, or was used or given up) or `revoked`.
    """

    reason: Literal["missing", "spent", "expired", "ticket", "ended", "revoked"]


class RateLimited(_Members, frozen=True):
    """Which limit it was; `given_back` where the buyer waits after so many holds given back."""

    limit: str | UnsetType = UNSET
    given_back: int | UnsetType = UNSET


class AlreadyResolved(_Members, frozen=True):
    """The state the reservation has."""

    state: str


class HoldExpired(_Members, frozen=True):
    """When it did."""

    expires_at: Instant


class FloorViolation(_Members, frozen=True):
    """The counters as they are: `available` over the item's locations, the rest at this one."""

    sku: str
    location: str
    delta: int
    available: int
    held: int
    sold: int
    floor: int


class InvalidState(_Members, frozen=True):
    """What stands in the way."""

    state: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    held: int | UnsetType = UNSET
    dead_letters: int | UnsetType = UNSET
    dead_letter_id: int | UnsetType = UNSET
    constraint: str | UnsetType | None = UNSET
    lines: tuple[LineAnswer, ...] | UnsetType = UNSET
    returned: tuple[LineAnswer, ...] | UnsetType = UNSET


class VersionMismatch(_Members, frozen=True):
    """The version the sale has."""

    version: int | UnsetType = UNSET


class Invalid(_Members, frozen=True):
    """What the request named that is not there, or what there is instead."""

    sku: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    lines: tuple[LineAnswer, ...] | UnsetType = UNSET


class Waiting(_Members, frozen=True):
    """What was asked for and is still to come, where it has a number."""

    reconciliation_id: int | UnsetType = UNSET
    dead_letter_id: int | UnsetType = UNSET


# By code; a code that is not here has no further members.
MEMBERS: dict[str, type[msgspec.Struct]] = {
    "sold_out": SoldOut,
    "limit_exceeded": LimitExceeded,
    "sale_not_open": SaleNotOpen,
    "not_admitted": NotAdmitted,
    "rate_limited": RateLimited,
    "already_resolved": AlreadyResolved,
    "hold_expired": HoldExpired,
    "floor_violation": FloorViolation,
    "invalid_state": InvalidState,
    "version_mismatch": VersionMismatch,
    "invalid": Invalid,
    "recovering": Waiting,
    "ledger_behind": Waiting,
}
