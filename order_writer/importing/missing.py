"""Which numbers only Redis' records know: from where the ledger ends to where the outbox begins.

An outbox is whole from its first entry to its end. What lies between the ledger's watermark and
that first entry is missing. An event that nobody can read is as good as missing, and everything
before it with it: its effect is in the records like that of the others.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Load, Position, Recover
from gateway.inventory.keys import PartitionId
from order_writer.folding.items import Item, decode_items
from order_writer.importing.errors import ImportRefused
from order_writer.log.event_log import format_position
from order_writer.log.outbox import Outbox

START = Position(0, 0)
BATCH_EVENTS = 2000


@dataclass(frozen=True, slots=True)
class Missing:
    """Everything after `after` up to `last`; `fingerprint`: of the event at `last`, if there is a
    copy of it.
    """

    after: Position
    last: Position
    fingerprint: bytes | None = None


async def outbox_items(
    outbox: Outbox, partition: PartitionId, after: Position, until: Position
) -> AsyncIterator[list[Item]]:
    """The events in (after, until], decoded, BATCH_EVENTS at a time. Raises Recovering where the
    outbox ends before `until`.
    """
    while after < until:
        entries = await outbox.read(partition, after, BATCH_EVENTS)
        entries = [entry for entry in entries if entry.position <= until]
        if not entries:
            raise Recovering(f"{partition}: the outbox ends at {format_position(after)}")
        yield decode_items(entries)
        after = entries[-1].position


async def find_missing(
    outbox: Outbox, partition: PartitionId, after: Position, until: Position
) -> Missing | None:
    """What is missing between a ledger at `after` and an outbox that ends at `until`; None where
    the outbox has all of it.

    Raises ImportRefused for an outbox with a hole.
    """
    first = await outbox.read(partition, START, 1)
    if not first:
        raise Recovering(f"{partition}: the outbox is empty")
    last = _before(decode_items(first)[0])
    if last <= after:
        return None
    missing, at = Missing(after, last), last
    async for items in outbox_items(outbox, partition, last, until):
        for item in items:
            position = item.entry.position
            if item.death is not None:
                missing = Missing(after, position, item.fingerprint)
            elif _before(item) != at:
                raise ImportRefused(
                    f"the outbox has a hole: {format_position(position)} follows "
                    f"{format_position(at)}"
                )
            at = position
    return missing


def _before(item: Item) -> Position:
    """The number before this event's."""
    position, event = item.entry.position, item.event
    if position.sequence > 1 or isinstance(event, Load):
        return Position(position.epoch, position.sequence - 1)
    if isinstance(event, Recover):
        return event.previous
    raise ImportRefused(f"epoch {position.epoch} does not begin with a recovery")
