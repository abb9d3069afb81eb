"""Poison: found, set aside under its number, waited for, replayed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from order_writer.log.event_log import Batch, Foreign, LogEntry
from tests.support.sales.history import SKU, UNITS, History, Rig, open_rig
from tests.support.waiting import WAIT_SECONDS, wait_until


@pytest_asyncio.fixture
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    async with open_rig(settings) as opened:
        yield opened


def _reserve_with(**changes: object) -> Callable[[History], LogEntry]:
    return lambda history: history.reserve("bad", 1, **changes)


POISON: dict[str, tuple[str, Callable[[History], LogEntry]]] = {
    "no JSON": ("undecodable", lambda history: history.garbage(b'{"v":1,"type":"res')),
    "nothing": ("undecodable", lambda history: history.garbage(b"")),
    "no UTF-8": ("undecodable", lambda history: history.garbage(b'{"v":"\xff\xfe"}')),
    "unknown type": ("undecodable", lambda history: history.event("teleport")),
    "unknown version": ("undecodable", _reserve_with(v=2)),
    "number of another": ("undecodable", _reserve_with(sequence=99)),
    "partition of another": ("undecodable", _reserve_with(partition=7)),
    "a quantity past all bounds": ("undecodable", _reserve_with(lines=[
        {"sku": SKU, "location": "default", "quantity": 10**30, "unit_price": 1}])),
    "a deadline as text": ("undecodable", _reserve_with(deadline="soon")),
    "NUL in a text": ("refused", _reserve_with(buyer_id="a\x00b")),
    "NUL in a text that is only in the event": ("refused", lambda history: history.event(
        "adjust", sku=SKU, location="default", delta=1, reason="a\x00b", actor="ops")),
    "a line twice": ("refused", _reserve_with(lines=[
        {"sku": SKU, "location": "default", "quantity": 1, "unit_price": 1}] * 2)),
    "an unknown SKU": ("refused", _reserve_with(lines=[
        {"sku": "boot", "location": "default", "quantity": 1, "unit_price": 1}])),
    "more than there is": ("refused", lambda history: history.reserve("bad", UNITS + 1)),
    "a resolve of nothing": ("refused", lambda history: history.confirm("nobody")),
    "a resolve of something resolved": ("refused", lambda history: history.cancel("gone")),
    "a return of more than was sold": ("refused", lambda history: history.return_units("kept", 2)),
    "an adjustment of nothing known": ("refused", lambda history: history.adjust(1, sku="boot")),
    "a second load": ("refused", lambda history: history.load()),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
async def test_poison_holds_its_number_and_the_partition_goes_on(
    rig: Rig, sale_id: str, name: str
) -> None:
    reason, poison = POISON[name]
    (history,) = await rig.open_sale(sale_id)
    history.load()
    for buyer in ("gone", "kept"):
        history.reserve(buyer)
        history.confirm(buyer)
    bad = poison(history)
    history.reserve("ann")
    await rig.writer.apply(history.entries)

    assert await rig.position(history) == Position(1, history.sequence)
    assert await rig.stopped(history) is None
    assert await rig.letters() == [(bad.position.sequence, reason, "dead")]
    assert await rig.ledger.fetchval("SELECT raw FROM dead_letters") == bad.raw
    kind = await rig.ledger.fetchval(
        "SELECT type FROM ledger_events WHERE sequence = $1", bad.position.sequence
    )
    assert kind == "void"
    assert await rig.account(history) == (0, UNITS - 3, 1, 2)
    before = await rig.dump()
    await rig.writer.apply(history.entries)
    assert await rig.dump() == before


async def test_the_poisoned_of_a_large_batch_are_found_and_no_other(rig: Rig, sale_id: str) -> None:
    first, second = await rig.open_sale(sale_id, partitions=2)
    for history in (first, second):
        history.load()
        for number in range(60):
            history.reserve(f"b{number}")
            if number in {7, 41}:
                history.confirm("nobody")
    await rig.writer.apply(first.entries + second.entries)
    for history in (first, second):
        assert await rig.position(history) == Position(1, history.sequence)
        assert await rig.account(history) == (0, UNITS - 60, 60, 0)
    assert [sequence for sequence, _, _ in await rig.letters()] == [10, 10, 45, 45]


async def test_later_events_of_the_reservation_wait_and_a_replay_applies_them_in_order(
    rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    # More than there is until the stock is counted again: poison now, sound later.
    history.reserve("ann", UNITS + 1)
    await rig.writer.apply(history.entries)
    history.extend("ann", UNITS + 1)
    history.confirm("ann", 1, released=UNITS)
    history.reserve("bob")
    await rig.writer.apply(history.entries)
    assert await rig.letters() == [
        (2, "refused", "dead"),
        (3, "waits_behind", "dead"),
        (4, "waits_behind", "dead"),
    ]
    assert await rig.account(history) == (0, UNITS - 1, 1, 0)

    await _ask(rig, sequence=4)
    assert await rig.letters() == [
        (2, "refused", "dead"),
        (3, "waits_behind", "dead"),
        (4, "waits_behind", "dead"),
    ], "not before the one it waits behind"

    history.adjust(10)
    await rig.writer.apply(history.entries)
    await _ask(rig, sequence=2)
    assert {status for _, _, status in await rig.letters()} == {"replayed"}
    assert await rig.account(history) == (10, UNITS + 10 - 2, 1, 1)
    assert await rig.state_of(history, "ann") == "confirmed"
    kinds = await rig.ledger.fetch("SELECT type FROM ledger_events ORDER BY sequence")
    assert "void" not in {row["type"] for row in kinds}
    before = await rig.dump()
    await rig.writer.apply(history.entries)
    assert await rig.dump() == before


async def test_events_that_wait_in_the_same_batch(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    _reserve_with(buyer_id="a\x00b")(history)
    history.cancel("bad")
    await rig.writer.apply(history.entries)
    assert await rig.letters() == [(2, "refused", "dead"), (3, "waits_behind", "dead")]


async def test_nothing_waits_behind_an_event_that_cannot_be_read(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    reserved = history.reserve("ann")
    reservation_id = msgspec.json.decode(reserved.raw)["reservation_id"]
    history.event("teleport", reservation_id=reservation_id)
    history.confirm("ann")
    await rig.writer.apply(history.entries)
    assert await rig.letters() == [(3, "undecodable", "dead")]
    assert await rig.ledger.fetchval("SELECT reservation_id FROM dead_letters") is None
    assert await rig.state_of(history, "ann") == "confirmed"


async def test_a_replay_that_fails_again_stays_dead_and_says_why(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.confirm("nobody")
    await rig.writer.apply(history.entries)
    await rig.ledger.execute("UPDATE dead_letters SET error = ''")
    await _ask(rig, sequence=2)
    assert await rig.letters() == [(2, "refused", "dead")]
    error = await rig.ledger.fetchval("SELECT error FROM dead_letters")
    assert error == "change_reservations: 0 rows of 1"


async def test_an_unreadable_copy_is_read_from_the_outbox(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    sound = history.reserve("ann")
    await rig.put(history.entries)
    damaged = LogEntry(sound.partition, sound.position, sound.raw[:-20])
    await rig.writer.apply([history.entries[0], damaged])
    assert await rig.letters() == []
    assert await rig.state_of(history, "ann") == "held"
    before = await rig.dump()
    await rig.redis.flushall()
    await rig.writer.apply([history.entries[0], damaged])
    assert await rig.dump() == before, "a damaged copy is no fork"
    assert await rig.stopped(history) is None


async def test_a_replay_takes_the_readable_copy_of_the_outbox(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    sound = history.reserve("ann")
    damaged = LogEntry(sound.partition, sound.position, b"{")
    await rig.writer.apply([history.entries[0], damaged])
    assert await rig.letters() == [(2, "undecodable", "dead")]
    await rig.put(history.entries)
    await _ask(rig, sequence=2)
    assert await rig.letters() == [(2, "undecodable", "replayed")]
    assert await rig.state_of(history, "ann") == "held"


async def test_what_has_no_number_is_set_aside_once_and_cannot_be_replayed(rig: Rig) -> None:
    foreign = Foreign("topic:3:17", "no key", b"\x00\xff")
    await rig.writer.write(Batch([], [foreign, foreign]))
    await rig.writer.write(Batch([], [foreign]))
    assert await rig.letters() == [(None, "unnumbered", "dead")]
    await rig.ledger.execute("UPDATE dead_letters SET status = 'replay_requested'")
    await rig.replay.serve()
    assert await rig.letters() == [(None, "unnumbered", "dead")]


async def test_a_partition_the_ledger_does_not_know_is_set_aside(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    stranger = History(type(history.partition)(sale_id, 9))
    stranger.load()
    await rig.writer.apply(stranger.entries + history.entries)
    assert await rig.letters() == [(1, "unknown_partition", "dead")]
    assert await rig.position(history) == Position(1, 1)


async def test_a_fault_of_the_server_is_no_poison(rig: Rig, sale_id: str) -> None:
    """A row locked for longer than the lock time-out is waited for."""
    (history,) = await rig.open_sale(sale_id)
    history.load()
    async with rig.ledger.transaction():
        await rig.ledger.execute("SELECT FROM watermarks FOR UPDATE")
        writing = asyncio.create_task(rig.writer.apply(history.entries))
        rolled_back = await _rollbacks(rig)

        async def refused() -> bool:
            return await _rollbacks(rig) > rolled_back

        await wait_until(refused, "the writer's transaction was refused the lock")
    await asyncio.wait_for(writing, WAIT_SECONDS)
    assert await rig.letters() == []
    assert await rig.position(history) == Position(1, 1)


async def _ask(rig: Rig, sequence: int) -> None:
    """Ask for a replay, as the gateway does."""
    await rig.ledger.execute(
        "UPDATE dead_letters SET status = 'replay_requested' WHERE sequence = $1", sequence
    )
    assert await rig.replay.serve() == 1


async def _rollbacks(rig: Rig) -> int:
    await rig.ledger.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await rig.ledger.fetchval(
        "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    return count
