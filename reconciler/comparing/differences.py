"""What a comparison finds, each difference named by its kind and by the reservation behind it."""

from enum import StrEnum

import msgspec

DIFFERENCES_MAX = 10_000


class Kind(StrEnum):
    """What differs.

    counter: an account's counter. hold_missing: the ledger has a reservation that Redis lacks.
    hold_leaked: Redis holds units for a reservation that the ledger lacks or has as resolved, or
    that no deadline will ever release. resolved_twice: resolved on both sides, not in the same way.
    limit_count: a buyer's count. unapplied: a change that one side has and the other lacks.
    void: a number whose event is a dead letter.
    """

    COUNTER = "counter"
    HOLD_MISSING = "hold_missing"
    HOLD_LEAKED = "hold_leaked"
    RESOLVED_TWICE = "resolved_twice"
    LIMIT_COUNT = "limit_count"
    UNAPPLIED = "unapplied"
    VOID = "void"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One value in which Redis and the ledger differ, at the same number."""

    partition: int
    kind: Kind
    sku: str | None = None
    location: str | None = None
    reservation_id: str | None = None
    buyer_id: str | None = None
    field: str | None = None
    redis_value: str | None = None
    ledger_value: str | None = None
