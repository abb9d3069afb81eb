from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from order_writer.folding.items import Item, decode_items
from order_writer.folding.plan import ClosedEpoch, Plan, in_order, plan
from order_writer.log.event_log import LogEntry, Watermark, parse_position
from tests.support.sales.history import History

PARTITION = PartitionId("sale", 0)


def _numbers(items: list[Item]) -> list[tuple[int, int]]:
    return [(item.entry.position.epoch, item.entry.position.sequence) for item in items]


def _plan(
    entries: list[LogEntry], at: tuple[int, int], closed: dict[int, ClosedEpoch] | None = None
) -> Plan:
    ordered, fork = in_order(decode_items(entries))
    assert fork is None
    return plan(Watermark(PARTITION, Position(*at)), closed or {}, ordered)


def _history(count: int = 6) -> History:
    history = History(PARTITION)
    history.load()
    for number in range(count - 1):
        history.reserve(f"b{number}")
    return history


def test_the_run_is_what_follows_the_watermark_without_a_hole() -> None:
    entries = _history().entries
    decided = _plan([entries[4], entries[2], entries[3], entries[2], entries[1]], at=(1, 2))
    assert _numbers(decided.run) == [(1, 3), (1, 4), (1, 5)]
    assert _numbers(decided.repeated) == [(1, 2)]
    assert not decided.gap


def test_a_hole_ends_the_run_and_keeps_the_rest() -> None:
    entries = _history().entries
    decided = _plan([entries[0], entries[1], entries[3], entries[5]], at=(1, 0))
    assert _numbers(decided.run) == [(1, 1), (1, 2)]
    assert decided.gap
    assert _numbers(decided.rest) == [(1, 4), (1, 6)]


def test_epochs_are_not_folded_together() -> None:
    history = _history(2)
    history.recover(3)
    history.reserve("late")
    closed = {1: ClosedEpoch(last_sequence=2, next_epoch=3)}
    first = _plan(history.entries, at=(1, 0), closed=closed)
    assert _numbers(first.run) == [(1, 1), (1, 2)]
    assert not first.gap
    assert _numbers(first.rest) == [(3, 1), (3, 2)]
    second = _plan(history.entries[2:], at=(1, 2), closed=closed)
    assert _numbers(second.run) == [(3, 1), (3, 2)]


def test_a_rebase_is_the_first_of_its_run() -> None:
    history = _history(2)
    history.rebase(1000)
    history.reserve("late")
    history.rebase(1000)
    first = _plan(history.entries, at=(1, 0))
    assert (_numbers(first.run), first.gap) == ([(1, 1), (1, 2)], False)
    assert _numbers(first.rest) == [(1, 3), (1, 4), (1, 5)]
    second = _plan(_rest(first), at=(1, 2))
    assert _numbers(second.run) == [(1, 3), (1, 4)]
    third = _plan(_rest(second), at=(1, 4))
    assert (_numbers(third.run), third.rest) == ([(1, 5)], [])


def _rest(decided: Plan) -> list[LogEntry]:
    return [item.entry for item in decided.rest]


def test_an_epoch_whose_end_is_missing_is_a_gap() -> None:
    history = _history(3)
    history.recover(2)
    decided = _plan(history.entries[3:], at=(1, 2), closed={1: ClosedEpoch(3, 2)})
    assert decided.gap
    assert decided.stop is None


def test_an_epoch_whose_beginning_is_missing_is_a_gap() -> None:
    history = _history(2)
    history.recover(2)
    late = history.reserve("late")
    decided = _plan([late], at=(1, 2), closed={1: ClosedEpoch(2, 2)})
    assert decided.gap


def test_numbers_beyond_a_close_or_of_an_unused_epoch_are_fenced() -> None:
    history = _history(4)
    unused = History(PARTITION, epoch=2)
    unused.reserve("nobody")
    closed = {1: ClosedEpoch(last_sequence=2, next_epoch=3)}
    decided = _plan([*history.entries, *unused.entries], at=(1, 2), closed=closed)
    assert _numbers(decided.fenced) == [(1, 3), (1, 4), (2, 1)]
    after = _plan([*history.entries, *unused.entries], at=(3, 1), closed=closed)
    assert _numbers(after.fenced) == [(1, 3), (1, 4), (2, 1)]
    assert _numbers(after.repeated) == [(1, 1), (1, 2)]


def test_an_unreadable_first_event_of_an_epoch_is_refused() -> None:
    history = _history(2)
    history.recover(2)
    entry = history.entries[2]
    damaged = LogEntry(entry.partition, entry.position, b"{")
    decided = _plan([damaged], at=(1, 2), closed={1: ClosedEpoch(2, 2)})
    assert decided.stop == "recover_refused: 2-1 does not follow 1-2"
    assert decided.run == []


def test_a_readable_copy_wins_over_an_unreadable_one() -> None:
    entry = _history(1).entries[0]
    damaged = LogEntry(entry.partition, entry.position, b"{")
    for copies in ([entry, damaged], [damaged, entry]):
        ordered, fork = in_order(decode_items(copies))
        assert fork is None
        assert [item.entry.raw for item in ordered] == [entry.raw]


def test_positions_are_what_the_scripts_can_give() -> None:
    assert parse_position(b"1-1") == Position(1, 1)
    assert parse_position(b"2147483647-9007199254740991") == Position(2**31 - 1, 2**53 - 1)
    for bad in (b"", b"1", b"0-1", b"1-0", b"1-01", b"-1-1", b"1-1 ", b"2147483648-1",
                b"1-9007199254740992", b"1-99999999999999999999"):  # fmt: skip
        assert parse_position(bad) is None
