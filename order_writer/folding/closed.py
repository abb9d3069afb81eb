"""Which closed epochs an older ledger has forgotten: arithmetic on numbers, nothing else.

The ledger closes an epoch before the partition begins the next, and the partition remembers the
closing. A ledger that was put back has lost closings of which the partition still knows. Without
them it would apply events that are fenced: those after the end of a closed epoch follow its last
event as if they belonged to it.
"""

from collections.abc import Mapping, Sequence

from gateway.inventory.events import Position
from gateway.inventory.types import ClosedEpoch as Remembered
from order_writer.folding.plan import ClosedEpoch
from order_writer.log.event_log import format_position


class ForkedEpoch(Exception):
    """The ledger and the partition know of two different ends of one epoch."""


def forgotten(
    mark: Position, stored: Mapping[int, ClosedEpoch], remembered: Sequence[Remembered]
) -> list[Remembered]:
    """The closings that the ledger at `mark` lacks: those that chain on from its epoch.

    `remembered`: oldest first, each the end of the epoch that the closing before it begins.
    A closing that is not chained on says nothing of the epochs between: it is left out. Where the
    ledger names a later successor than the partition does, an epoch is being closed anew just now,
    and the ledger is right. Raises ForkedEpoch.
    """
    missing = []
    epoch = mark.epoch
    for closing in remembered:
        has = stored.get(closing.epoch)
        if has is not None and has.last_sequence != closing.last_sequence:
            raise ForkedEpoch(
                f"the ledger closed epoch {closing.epoch} at {has.last_sequence}, "
                f"the partition knows of {closing.last_sequence}"
            )
        if has is not None and closing.epoch < mark.epoch and has.next_epoch != closing.next_epoch:
            raise ForkedEpoch(
                f"epoch {has.next_epoch} follows epoch {closing.epoch} in the ledger, "
                f"epoch {closing.next_epoch} in the partition"
            )
        if closing.epoch == mark.epoch and closing.last_sequence < mark.sequence:
            raise ForkedEpoch(
                f"the ledger is at {format_position(mark)}, "
                f"its epoch ended at {closing.last_sequence}"
            )
        if closing.epoch != epoch:
            continue
        if has is None or has.next_epoch < closing.next_epoch:
            missing.append(closing)
            epoch = closing.next_epoch
        else:
            epoch = has.next_epoch
    return missing
