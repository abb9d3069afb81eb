"""Which of the copies at hand may be applied: arithmetic on numbers, nothing else.

A partition's history is contiguous within an epoch, and an epoch follows another only by a
`recover` event that names the closing position stored in the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.inventory.events import Position, Rebase, Recover
from order_writer.folding.items import Item
from order_writer.log.event_log import Watermark, format_position


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """An epoch that the ledger closed at `last_sequence`, and the epoch that follows it."""

    last_sequence: int
    next_epoch: int


@dataclass(slots=True)
class Plan:
    """What to do with one partition's items, which are taken in order.

    `run`: contiguous after the watermark, and of one epoch. `repeated`: at or below the watermark.
    `fenced`: beyond the close of their epoch. `rest`: items after a gap (then `gap` is set) or of
    the next epoch. `stop`: why the partition must stop, where it must.
    """

    run: list[Item] = field(default_factory=list)
    repeated: list[Item] = field(default_factory=list)
    fenced: list[Item] = field(default_factory=list)
    rest: list[Item] = field(default_factory=list)
    gap: bool = False
    stop: str | None = None


def in_order(items: Sequence[Item]) -> tuple[list[Item], str | None]:
    """Sort by number, drop repeats; also the reason to stop where two copies of a number differ.

    An unreadable copy beside a readable one proves damage in transport, not a second history.
    """
    ordered: list[Item] = []
    for item in sorted(items, key=lambda item: item.entry.position):
        if ordered and ordered[-1].entry.position == item.entry.position:
            last = ordered[-1]
            if last.event is None and item.event is not None:
                ordered[-1] = item
            elif item.event is not None and item.fingerprint != last.fingerprint:
                number = format_position(item.entry.position)
                return ordered[:-1], f"forked: two events have number {number}"
            continue
        ordered.append(item)
    return ordered, None


def plan(mark: Watermark, closed: Mapping[int, ClosedEpoch], items: Sequence[Item]) -> Plan:
    """Decide for each item of a partition; `items` are in order and without repeats."""
    result = Plan()
    epoch, sequence = mark.position.epoch, mark.position.sequence
    for index, item in enumerate(items):
        position = item.entry.position
        closure = closed.get(position.epoch)
        if closure is not None and position.sequence > closure.last_sequence:
            result.fenced.append(item)
        elif position.epoch < epoch:
            # A number that was allotted but never used has no closing row of its own.
            (result.fenced if closure is None else result.repeated).append(item)
        elif position.epoch == epoch and position.sequence <= sequence:
            result.repeated.append(item)
        elif position.epoch == epoch and position.sequence == sequence + 1:
            if result.run and isinstance(item.event, Rebase):
                result.rest = list(items[index:])
                break  # deadlines move with it, so what was before is not folded together with it
            result.run.append(item)
            sequence += 1
        elif position.epoch == epoch:
            result.gap, result.rest = True, list(items[index:])
            break
        else:
            step = _next_epoch(Position(epoch, sequence), closed.get(epoch), item, result)
            if step is None:
                result.rest = list(items[index:])
                break
            epoch, sequence = step.epoch, step.sequence
    return result


def _next_epoch(
    at: Position, closure: ClosedEpoch | None, item: Item, result: Plan
) -> Position | None:
    """Where the history stands after an item of a later epoch; None ends this plan."""
    position, event = item.entry.position, item.event
    if closure is None:
        here, last = format_position(position), format_position(at)
        result.stop = f"epoch_unknown: {here} follows {last}, an epoch not closed"
    elif position.epoch < closure.next_epoch:
        result.fenced.append(item)
        return at
    elif (
        position.epoch > closure.next_epoch
        or position.sequence != 1
        or at.sequence < closure.last_sequence
    ):
        result.gap = True
    elif result.run:
        return None  # deadlines move between the epochs, so they are not folded together
    elif not isinstance(event, Recover) or event.previous != at:
        result.stop = (
            f"recover_refused: {format_position(position)} does not follow {format_position(at)}"
        )
    else:
        result.run.append(item)
        return position
    return None
