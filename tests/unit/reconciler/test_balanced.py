"""What a periodic comparison may leave out: nothing happened since nothing differed."""

import time

import msgspec
import pytest

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import AccountCounters, Snapshot
from reconciler.comparing.balanced import Balanced
from reconciler.comparing.compare import CompareConfig, Comparison
from reconciler.comparing.differences import Difference, Kind

PARTITION = PartitionId("sale", 0)
AT = Position(2, 7)
ACCOUNT = AccountCounters("sku", "default", 10, 0, 0, 0, 8, 1, 1)
SNAPSHOT = Snapshot(2, 7, "open", "run", 1000, 0, 7, 1, 0, 2, (ACCOUNT,), ())
DIFFERENCE = Difference(partition=0, kind=Kind.COUNTER)
CONFIG = CompareConfig(full_interval_seconds=100.0, quiet_interval_seconds=200.0)


def compared(*differences: Difference, ago_seconds: float = 0.0, whole: bool = True) -> Balanced:
    balanced = Balanced(CONFIG)
    note(balanced, *differences, ago_seconds=ago_seconds, whole=whole)
    return balanced


def note(
    balanced: Balanced, *differences: Difference, ago_seconds: float = 0.0, whole: bool = True
) -> None:
    found = Comparison(PARTITION, SNAPSHOT, differences, (), None)
    balanced.note(found, began_at=time.monotonic() - ago_seconds, whole=whole, imports=0)


def test_a_partition_is_quiet_while_both_sides_stand_where_they_were_balanced() -> None:
    balanced = compared()
    assert balanced.is_quiet(PARTITION, AT, AT)
    for redis, ledger in ((Position(2, 8), AT), (AT, Position(2, 6)), (Position(3, 1),) * 2):
        assert not compared().is_quiet(PARTITION, redis, ledger)
    assert not balanced.is_quiet(PartitionId("other", 0), AT, AT)


def test_a_ledger_that_was_older_meanwhile_is_compared_again() -> None:
    balanced = compared()
    assert not balanced.is_quiet(PARTITION, AT, Position(2, 6))
    assert not balanced.is_quiet(PARTITION, AT, AT)  # it was brought back to the number
    note(balanced)
    assert balanced.is_quiet(PARTITION, AT, AT)


def test_all_records_are_compared_after_an_import() -> None:
    assert compared().since(PARTITION, imports=1) is None


def test_no_partition_is_quiet_for_ever() -> None:
    assert compared(ago_seconds=190.0).is_quiet(PARTITION, AT, AT)
    assert not compared(ago_seconds=210.0).is_quiet(PARTITION, AT, AT)


def test_a_partition_that_differed_is_not_quiet() -> None:
    balanced = compared(DIFFERENCE)
    assert not balanced.is_quiet(PARTITION, AT, AT)
    note(balanced)
    assert balanced.is_quiet(PARTITION, AT, AT)
    note(balanced, DIFFERENCE)
    assert not balanced.is_quiet(PARTITION, AT, AT)
    assert balanced.since(PARTITION, imports=0) is None


def test_all_records_are_compared_once_in_a_while() -> None:
    assert compared(ago_seconds=90.0).since(PARTITION, imports=0) == AT
    balanced = compared(ago_seconds=110.0)
    assert balanced.since(PARTITION, imports=0) is None
    note(balanced, whole=False)  # of changes only
    assert balanced.since(PARTITION, imports=0) is None
    note(balanced)
    assert balanced.since(PARTITION, imports=0) == AT


@pytest.mark.parametrize(
    "changed",
    [
        msgspec.structs.replace(SNAPSHOT, reservations=3),
        msgspec.structs.replace(
            SNAPSHOT, accounts=(msgspec.structs.replace(ACCOUNT, available=9, held=0),)
        ),
    ],
)
def test_other_counters_at_the_same_number_end_the_quiet(changed: Snapshot) -> None:
    balanced = compared()
    balanced.doubt(PARTITION, msgspec.structs.replace(SNAPSHOT, read_at=2000, outbox_length=9))
    assert balanced.is_quiet(PARTITION, AT, AT)
    balanced.doubt(PARTITION, msgspec.structs.replace(changed, sequence=8))
    assert balanced.is_quiet(PARTITION, AT, AT)  # an event has changed them
    balanced.doubt(PARTITION, changed)
    assert not balanced.is_quiet(PARTITION, AT, AT)
    assert balanced.since(PARTITION, imports=0) is None


def test_sales_that_are_over_are_forgotten() -> None:
    balanced = compared()
    balanced.keep_only({PARTITION})
    assert len(balanced) == 1
    balanced.keep_only(set())
    assert len(balanced) == 0
