"""The body of a problem as types: the members of every problem, and those of each code.

Problems are raised with loose members (problems.py); these types describe them in the API's
description.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.api.contract.schemas import Instant, LineAnswer, OwnHold


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. Clients decide by `code`; `title` is fixed per code, `detail` tells the case."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class _Members(msgspec.Struct, frozen=True):
    """Further members of a problem; an optional member has a default."""


class SoldOut(_Members, frozen=True):
    """`own_holds`: the caller's own holds, at most 8; they may be the units that are missing."""

    sku: str
    own_holds: tuple[OwnHold, ...]


class LimitExceeded(_Members, frozen=True, kw_only=True):
    """`own_holds`: the caller's own holds, at most 8; cancelling a hold makes room. Without `sku`
    the limit is the number of unpaid reservations, where cancelling makes no room.
    """

    sku: str | UnsetType = UNSET
    limit: int
    own_holds: tuple[OwnHold, ...]


class SaleNotOpen(_Members, frozen=True):
    """`sku`: the paused item, when only this item is paused."""

    state: str
    sku: str | UnsetType = UNSET


class NotAdmitted(_Members, frozen=True):
    """Why the buyer is not let in. For an admission token: `missing` (also for another buyer's
    token and while tokens are not honoured), `spent` or `expired`. For a ticket: `ticket` (not a
    ticket of this buyer for this sale), `ended` (the place was used or given up, or its slot is
    over) or `revoked`.
    """

    reason: Literal["missing", "spent", "expired", "ticket", "ended", "revoked"]


class RateLimited(_Members, frozen=True):
    """`limit`: the name of the limit; `given_back`: unpaid holds that made the buyer wait."""

    limit: str | UnsetType = UNSET
    given_back: int | UnsetType = UNSET


class AlreadyResolved(_Members, frozen=True):
    """The state of the resolved reservation."""

    state: str


class HoldExpired(_Members, frozen=True):
    """The instant at which the hold expired."""

    expires_at: Instant


class FloorViolation(_Members, frozen=True):
    """The counters now: `available` over the item's locations, `held`, `sold` at this location."""

    sku: str
    location: str
    delta: int
    available: int
    held: int
    sold: int
    floor: int


class InvalidState(_Members, frozen=True):
    """The state, or the other things, that stand in the way of the call."""

    state: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    held: int | UnsetType = UNSET
    dead_letters: int | UnsetType = UNSET
    dead_letter_id: int | UnsetType = UNSET
    constraint: str | UnsetType | None = UNSET
    lines: tuple[LineAnswer, ...] | UnsetType = UNSET
    returned: tuple[LineAnswer, ...] | UnsetType = UNSET


class VersionMismatch(_Members, frozen=True):
    """The current version of the sale."""

    version: int | UnsetType = UNSET


class Invalid(_Members, frozen=True):
    """The SKU, location or lines that the request got wrong, or the lines that exist instead."""

    sku: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    lines: tuple[LineAnswer, ...] | UnsetType = UNSET


class Waiting(_Members, frozen=True):
    """The number of a request that was accepted and is not finished yet."""

    reconciliation_id: int | UnsetType = UNSET
    dead_letter_id: int | UnsetType = UNSET


# The members by code; a code without an entry has no further members.
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
