"""order_events.detail: what a reader of an order's history sees beside status and time."""

import msgspec

from gateway.inventory.events import EventLine


class Confirmed(msgspec.Struct, frozen=True):
    """Paid for, whole or in part."""

    payment_reference: str
    lines: tuple[EventLine, ...]
    released: tuple[EventLine, ...]


class Cancelled(msgspec.Struct, frozen=True):
    """Given up, by whom."""

    actor: str


class Extended(msgspec.Struct, frozen=True):
    """Held for longer; `deadline` is milliseconds since 1970."""

    deadline: int
    extended_ms: int


class Returned(msgspec.Struct, frozen=True):
    """Units given back after the sale."""

    lines: tuple[EventLine, ...]
    restock: bool
    reason: str
    return_key: str
