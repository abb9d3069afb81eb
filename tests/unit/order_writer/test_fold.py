from collections import Counter

import pytest

from gateway.inventory.keys import PartitionId
from order_writer.folding.errors import IntegrityViolation
from order_writer.folding.fold import Fold
from order_writer.folding.items import decode_items
from order_writer.folding.rows import Folded
from tests.support.sales.history import History, everything

PARTITION = PartitionId("sale", 0)


def _history() -> History:
    return History(PARTITION)


def _fold(history: History) -> Folded:
    fold = Fold()
    fold.add(decode_items(history.entries))
    return fold.result()


def test_a_reservation_resolved_in_its_run_is_stored_in_its_last_state() -> None:
    history = _history()
    history.reserve("ann", 3)
    history.extend("ann", 3)
    history.confirm("ann", 2, released=1)
    history.return_units("ann", 1)
    folded = _fold(history)
    (row,) = folded.reservations
    assert (row.state, row.payment_reference) == ("confirmed", "pay-ann")
    assert (row.accepted_sequence, row.last_sequence, row.extended_ms) == (1, 4, 60_000)
    (line,) = folded.lines
    assert (line.quantity, line.confirmed, line.returned) == (3, 2, 1)
    assert folded.changes == []


def test_a_reservation_of_an_earlier_run_is_a_change_with_what_it_requires() -> None:
    history = _history()
    history.extend("ann")
    history.cancel("ann")
    (change,) = _fold(history).changes
    assert (change.required, change.state) == ("held", "cancelled")
    assert (change.extended_ms, change.last_sequence) == (60_000, 2)


def test_counters_are_summed_by_account() -> None:
    history = _history()
    everything(history)
    (account,) = _fold(history).accounts
    assert (account.adjusted, account.available, account.held, account.sold) == (9, 1, 7, 1)


def test_every_event_has_its_number_and_the_last_is_the_watermark() -> None:
    history = _history()
    everything(history)
    folded = _fold(history)
    assert [row.sequence for row in folded.ledger] == list(range(1, history.sequence + 1))
    (mark,) = folded.marks
    assert mark.sequence == history.sequence
    assert mark.fingerprint == folded.ledger[-1].fingerprint
    kinds = Counter(row.type for row in folded.ledger)
    assert kinds["reserve"] == 7
    assert kinds["return_units"] == 2


def test_what_is_dead_holds_its_number_as_void() -> None:
    history = _history()
    history.reserve("ann")
    history.garbage(b"{")
    folded = _fold(history)
    assert [row.type for row in folded.ledger] == ["reserve", "void"]
    assert [letter.raw for letter in folded.dead] == [b"{"]
    assert folded.marks[0].sequence == 2


@pytest.mark.parametrize("second", ["confirm", "cancel", "expire", "extend"])
@pytest.mark.parametrize("first", ["confirm", "cancel", "expire"])
def test_a_reservation_resolves_once(first: str, second: str) -> None:
    history = _history()
    history.reserve("ann")
    getattr(history, first)("ann")
    getattr(history, second)("ann")
    with pytest.raises(IntegrityViolation):
        _fold(history)


@pytest.mark.parametrize("resolved", ["cancel", "expire", "extend"])
def test_only_what_was_confirmed_is_returned(resolved: str) -> None:
    history = _history()
    history.reserve("ann")
    getattr(history, resolved)("ann")
    history.return_units("ann")
    with pytest.raises(IntegrityViolation):
        _fold(history)


def test_a_reservation_is_accepted_once() -> None:
    history = _history()
    history.reserve("ann")
    history.reserve("ann")
    with pytest.raises(IntegrityViolation):
        _fold(history)
