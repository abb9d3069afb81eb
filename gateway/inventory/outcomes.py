"""Outcomes of the scripts, as values: a refusal is an answer, not an error.

The words are those of the Lua scripts. Calls whose outcome is unknown raise errors (errors.py).
"""

from enum import StrEnum

import msgspec

from gateway.inventory.types import Reservation


class Outcome(StrEnum):
    """Every outcome of a request about a reservation, as the scripts name it."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    KEY_REUSED = "key_reused"
    NOT_OPEN = "not_open"
    RATE_LIMITED = "rate_limited"
    COOLING_DOWN = "cooling_down"
    LEDGER_BEHIND = "ledger_behind"
    NOT_ADMITTED = "not_admitted"
    LIMIT_EXCEEDED = "limit_exceeded"
    SOLD_OUT = "sold_out"
    OVERLOADED = "overloaded"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    EXTENDED = "extended"
    AT_CAP = "at_cap"
    RETURNED = "returned"
    UNKNOWN = "unknown"
    HOLD_EXPIRED = "hold_expired"
    ALREADY_RESOLVED = "already_resolved"
    NOT_RESERVED = "not_reserved"
    NOT_CONFIRMED = "not_confirmed"
    NOT_SOLD = "not_sold"
    TOO_MANY = "too_many"


class ReserveReply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The reply to one request of a batch.

    `detail`: the reservation (accepted, replayed), ms to wait (rate_limited, cooling_down), the
    sale's state (not_open), `missing`, `spent` or `expired` (not_admitted), the item's number
    (sold_out; limit_exceeded, where 0 means the limit of unpaid reservations). `more`: the limit
    (limit_exceeded; `holds` then has the own holds), the own holds (sold_out), the paused item's
    number (not_open), the reservations given back (cooling_down). `remaining`, set by the store:
    the requests the buyer has left, -1 for a request that did not count.
    """

    number: int
    outcome: str
    detail: Reservation | int | str | None = None
    more: int | tuple[Reservation, ...] | None = None
    holds: tuple[Reservation, ...] = ()
    remaining: int = -1


class EdgeReply(msgspec.Struct, frozen=True, array_like=True):
    """The reply of confirm, cancel, extend and return_units."""

    outcome: str
    reservation: Reservation | None = None


class AdjustReply(msgspec.Struct, frozen=True, array_like=True):
    """The reply of adjust, with the counters afterwards; `available`: over the item's locations.
    `sequence`: the number of the adjustment's event, also where the call is `replayed`.
    """

    outcome: str
    available: int
    held: int
    sold: int
    floor: int
    sequence: int
