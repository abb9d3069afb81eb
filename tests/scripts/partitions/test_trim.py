"""trim: the ledger's progress, and the end of the events it has."""

import pytest

from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Sale
from tests.support.scripts.state import run


def test_keeps_everything_from_the_watermark_on(rig: Rig) -> None:
    rig.open(Sale())
    for name in ("a", "b", "c"):
        rig.hold(name)
    before = rig.state()
    assert rig.trim(3) == (2, 3)
    after = rig.state()
    assert [event.sequence for event in after.events] == [3, 4, 5]
    assert after.meta.ledger_sequence == 3
    assert (after.meta.sequence, after.stock) == (before.meta.sequence, before.stock)
    assert after.records == before.records


def test_the_last_event_always_stays(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    assert rig.trim(3) == (2, 3)
    assert [event.sequence for event in rig.state().events] == [3]


def test_the_watermark_never_goes_back(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.trim(3)
    assert rig.trim(1) == (0, 3)
    assert rig.state().meta.ledger_sequence == 3


def test_drops_nothing_for_a_ledger_that_came_back_older(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    assert rig.call("trim", b"3", b"1-1").read(tuple[int, int]) == (0, 3)
    with rig.unchanged():
        assert rig.trim(2) == (0, 3)
    assert rig.trim(3) == (2, 3)


@pytest.mark.parametrize(
    ("kept", "first"),
    [(b"1-2", 2), (b"1-3", 3), (b"1-4", 3), (b"2-1", 3), (b"0-9", 1), (b"0-0", 1), (b"1-0", 1)],
)
def test_keeps_what_a_relay_has_still_to_send(rig: Rig, kept: bytes, first: int) -> None:
    rig.open(Sale())
    rig.hold("a")
    rig.hold("b")
    assert rig.call("trim", b"3", kept).read(tuple[int, int]) == (first - 1, 3)
    assert [event.sequence for event in rig.state().events] == list(range(first, 5))
    assert rig.trim(3) == (3 - first, 3)


@pytest.mark.parametrize("kept", [b"", b"1", b"1-", b"-1", b"1-x", b"1-1.5", b"1--1", b"1-1-1"])
def test_a_place_to_keep_from_that_is_none(rig: Rig, kept: bytes) -> None:
    rig.open(Sale())
    with rig.unchanged():
        assert rig.call("trim", b"1", kept).status == "malformed"


@pytest.mark.parametrize("watermark", [b"4", b"-1", b"1.5", b"nan", b"inf", b"", b"x"])
def test_a_watermark_the_partition_never_had(rig: Rig, watermark: bytes) -> None:
    rig.open(Sale())
    rig.hold("a")
    with rig.unchanged():
        assert rig.call("trim", watermark).status == "malformed"


def test_passes_where_memory_is_full(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    run(rig.client, "CONFIG", "SET", "maxmemory", "1")
    try:
        assert rig.trim(3) == (2, 3)
    finally:
        run(rig.client, "CONFIG", "SET", "maxmemory", "0")
    assert rig.state().meta.ledger_sequence == 3
