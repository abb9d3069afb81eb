"""Which closed epochs an older ledger is given again, and which contradict it."""

import pytest

from gateway.inventory.events import Position
from gateway.inventory.types import ClosedEpoch as Remembered
from order_writer.folding.closed import ForkedEpoch, forgotten
from order_writer.folding.plan import ClosedEpoch

FIRST, SECOND, THIRD = (
    Remembered(1, 80, "aa", 2),
    Remembered(2, 7, "bb", 4),
    Remembered(4, 30, "cc", 5),
)
ALL = (FIRST, SECOND, THIRD)


def stored(*closings: Remembered) -> dict[int, ClosedEpoch]:
    return {one.epoch: ClosedEpoch(one.last_sequence, one.next_epoch) for one in closings}


@pytest.mark.parametrize(
    ("mark", "has", "missing"),
    [
        ((1, 60), (), ALL),
        ((1, 80), (), ALL),
        ((1, 60), (FIRST,), (SECOND, THIRD)),
        ((2, 7), (FIRST,), (SECOND, THIRD)),
        ((4, 1), (FIRST, SECOND), (THIRD,)),
        ((5, 3), ALL, ()),
        # A closing whose epoch the ledger never began says nothing of the epochs between.
        ((3, 1), (), ()),
        ((6, 1), (), ()),
    ],
)
def test_what_chains_on_from_the_ledgers_epoch_is_missing(
    mark: tuple[int, int], has: tuple[Remembered, ...], missing: tuple[Remembered, ...]
) -> None:
    assert forgotten(Position(*mark), stored(*has), ALL) == list(missing)


def test_a_partition_that_remembers_only_later_epochs_gives_none() -> None:
    assert forgotten(Position(1, 60), {}, (SECOND, THIRD)) == []


def test_a_later_successor_is_missing_too() -> None:
    """The epoch was closed anew, and the ledger has lost that it was."""
    has = {1: ClosedEpoch(80, 2)}
    anew = (Remembered(1, 80, "aa", 3), Remembered(3, 9, "bb", 4))
    assert forgotten(Position(1, 70), has, anew) == list(anew)


def test_an_epoch_that_is_being_closed_anew_keeps_the_ledgers_successor() -> None:
    has = {1: ClosedEpoch(80, 3)}
    assert forgotten(Position(1, 80), has, (FIRST,)) == []


@pytest.mark.parametrize(
    ("mark", "has", "said"),
    [
        ((1, 81), {}, "the ledger is at 1-81, its epoch ended at 80"),
        ((1, 70), {1: ClosedEpoch(75, 2)}, "closed epoch 1 at 75"),
        ((2, 1), {1: ClosedEpoch(75, 2)}, "closed epoch 1 at 75"),
        ((3, 1), {1: ClosedEpoch(80, 3)}, "epoch 3 follows epoch 1 in the ledger"),
        ((1, 70), {2: ClosedEpoch(8, 4)}, "closed epoch 2 at 8"),
    ],
)
def test_two_ends_of_one_epoch_are_a_fork(
    mark: tuple[int, int], has: dict[int, ClosedEpoch], said: str
) -> None:
    with pytest.raises(ForkedEpoch, match=said):
        forgotten(Position(*mark), has, ALL)
