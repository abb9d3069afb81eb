"""What a partition remembers of the ledger, and what an older ledger lacks of it."""

import msgspec
import pytest

from gateway.inventory.events import Position
from gateway.inventory.redis.memory import Memory, memory_of
from gateway.inventory.types import ClosedEpoch

ALL = (ClosedEpoch(1, 80, "aa", 2), ClosedEpoch(2, 7, "bb", 4), ClosedEpoch(4, 30, "cc", 5))
PACKED = msgspec.msgpack.encode(ALL)


@pytest.mark.parametrize(
    ("mark", "known", "events"),
    [
        ((5, 3), (5, 3), 0),
        ((5, 4), (5, 3), 0),
        ((5, 1), (5, 3), 2),
        ((4, 29), (5, 3), 4),
        ((1, 60), (5, 3), 20 + 7 + 30 + 3),
        ((1, 80), (4, 30), 7 + 30),
        # The end of epoch 3 is not remembered.
        ((3, 10), (5, 3), 30 + 3),
    ],
)
def test_events_that_an_older_ledger_lacks_are_counted(
    mark: tuple[int, int], known: tuple[int, int], events: int
) -> None:
    assert Memory(Position(*known), ALL).lacking(Position(*mark)) == events


@pytest.mark.parametrize(
    ("fields", "memory"),
    [
        ((b"5", b"3", PACKED), Memory(Position(5, 3), ALL)),
        ((b"1", b"3", None), Memory(Position(1, 3))),
        # Nothing was reported in the epoch yet: the ledger had all of the epoch before.
        ((b"5", b"0", PACKED), Memory(Position(4, 30), ALL)),
        ((b"1", b"0", None), Memory()),
        ((None, None, None), Memory()),
        ((b"5", b"3", b"damaged"), Memory()),
        ((b"damaged", b"3", PACKED), Memory()),
    ],
)
def test_the_memory_is_read_and_a_damaged_memory_is_none(
    fields: tuple[bytes | None, bytes | None, bytes | None], memory: Memory
) -> None:
    assert memory_of(fields) == memory
