"""Rows made of items that are not folded: dead letters, and the watermark an item leads to."""

import json
from hashlib import blake2b

import msgspec

from order_writer.folding.items import Item, plain_text
from order_writer.folding.rows import DeadLetterRow, MarkRow
from order_writer.log.event_log import Foreign, format_position


def dead_letter(item: Item) -> DeadLetterRow:
    """The letter of an item that has a number; its death must be set."""
    entry, death = item.entry, item.death
    if death is None:
        raise ValueError(f"{entry.partition} {entry.position}: nothing is wrong with it")
    partition, position = entry.partition, entry.position
    reservation_id = item.reservation_id
    return DeadLetterRow(
        identity=f"{partition}:{format_position(position)}:{item.fingerprint.hex()}",
        sale_id=partition.sale_id,
        partition=partition.number,
        epoch=position.epoch,
        sequence=position.sequence,
        reservation_id=None if reservation_id is None else plain_text(reservation_id),
        reason=death.reason,
        error=death.error,
        raw=entry.raw,
        source=msgspec.json.encode({} if entry.offset is None else entry.offset).decode(),
    )


def foreign_letter(foreign: Foreign, reason: str = "unnumbered") -> DeadLetterRow:
    """The letter of something without a valid number."""
    digest = blake2b(foreign.raw, digest_size=8).hexdigest()
    source = plain_text(foreign.source)
    return DeadLetterRow(
        identity=f"{source}:{digest}",
        sale_id=None,
        partition=None,
        epoch=None,
        sequence=None,
        reservation_id=None,
        reason=reason,
        error=plain_text(foreign.error),
        raw=foreign.raw,
        source=json.dumps({"place": source}),
    )


def mark_row(item: Item) -> MarkRow:
    """The watermark of a partition whose last applied item this is."""
    partition, position, offset = item.entry.partition, item.entry.position, item.entry.offset
    return MarkRow(
        partition.sale_id,
        partition.number,
        position.epoch,
        position.sequence,
        item.fingerprint,
        None if item.event is None else item.event.occurred_at,
        "{}" if offset is None else json.dumps({offset.place: offset.number}),
    )
