"""Decoded copies of events: each is an event to apply, or a reason to set it aside.

The number an item has comes from the log. An event whose own fields name another number, partition
or sale is as unreadable as broken JSON: applying it would put it in the wrong place.
"""

import re
from collections.abc import Iterable

import msgspec

from gateway.inventory.events import (
    Cancel,
    Confirm,
    Event,
    Expire,
    Extend,
    Reserve,
    ReturnUnits,
    decode_event,
)
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import fingerprint_of
from order_writer.log.event_log import LogEntry

ReservationEvent = Reserve | Confirm | Cancel | Expire | Extend | ReturnUnits
_MOST_ERROR_CHARACTERS = 1000
# The escape itself: behind an escaped backslash, u0000 is text.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Death(msgspec.Struct, frozen=True, gc=False):
    """Why an event is set aside; `reason` is one of dead_letters.reason."""

    reason: str
    error: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event to fold; with a `death` it is set aside, whether `event` could be read or not."""

    entry: LogEntry
    fingerprint: bytes
    event: Event | None
    death: Death | None = None

    @property
    def reservation_id(self) -> str | None:
        """The reservation the event is about, where there is one and it could be read."""
        if isinstance(self.event, ReservationEvent):
            return self.event.reservation_id
        return None

    def buried(self, reason: str, error: str) -> "Item":
        """This item with a death: it is to be set aside."""
        return Item(self.entry, self.fingerprint, self.event, Death(reason, plain_text(error)))


def plain_text(text: str) -> str:
    """Text that Postgres can store, of bounded length."""
    return text[:_MOST_ERROR_CHARACTERS].replace("\x00", "\\u0000")


def decode_items(entries: Iterable[LogEntry]) -> list[Item]:
    """Decode each entry; an unreadable entry becomes an item with a death."""
    items = []
    for entry in entries:
        raw = entry.raw
        fingerprint = fingerprint_of(raw)
        try:
            event = decode_event(raw)
        except msgspec.DecodeError as error:  # or its child ValidationError
            items.append(_unreadable(entry, fingerprint, str(error)))
            continue
        position = entry.position
        if (
            event.sequence != position.sequence
            or event.epoch != position.epoch
            or not _belongs(event, entry.partition)
        ):
            items.append(_unreadable(entry, fingerprint, "the event names another place"))
            continue
        if b"\\u0000" in raw and _NUL.search(raw):
            # Found here, because the payload's column would store the text and never return it.
            death = Death("refused", "a text holds NUL, which PostgreSQL cannot store")
            items.append(Item(entry, fingerprint, event, death))
            continue
        items.append(Item(entry, fingerprint, event))
    return items


def _unreadable(entry: LogEntry, fingerprint: bytes, error: str) -> Item:
    return Item(entry, fingerprint, None, Death("undecodable", plain_text(error)))


def _belongs(event: Event, partition: PartitionId) -> bool:
    if event.sale_id != partition.sale_id or event.partition != partition.number:
        return False
    if isinstance(event, ReservationEvent):
        prefix = f"{partition.sale_id}.{partition.number}."
        return event.reservation_id.startswith(prefix)
    return True
