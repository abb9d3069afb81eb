"""The writer on a real ledger and real outboxes: any delivery, one history."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import read_run_id
from tests.support.sales.history import (
    HOLD_MS,
    SKU,
    START_MS,
    UNITS,
    History,
    Rig,
    everything,
    open_rig,
)


@pytest_asyncio.fixture
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    async with open_rig(settings) as opened:
        yield opened


async def test_every_kind_of_event_is_folded(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.writer.apply(history.entries)

    assert await rig.position(history) == Position(1, history.sequence)
    # held: eve 2, fay 2, gus 3; sold: dee 1; ann's two came back, one of them written off
    assert await rig.account(history) == (9, UNITS + 9 - 8, 7, 1)
    states = {buyer: await rig.state_of(history, buyer) for buyer in ("ann", "bob", "cid", "eve")}
    assert states == {"ann": "confirmed", "bob": "cancelled", "cid": "expired", "eve": "held"}
    assert await rig.ledger.fetchval("SELECT paused FROM sale_items WHERE sku = $1", SKU)
    line = await rig.ledger.fetchrow(
        "SELECT quantity, confirmed, returned FROM order_lines WHERE reservation_id = $1",
        history.reservation_id("ann"),
    )
    assert line is not None
    assert tuple(line) == (2, 2, 2)
    statuses = await rig.ledger.fetch(
        "SELECT status FROM order_events WHERE reservation_id = $1 ORDER BY epoch, sequence",
        history.reservation_id("ann"),
    )
    assert [row["status"] for row in statuses] == ["PENDING", "CONFIRMED", "RETURNED", "RETURNED"]
    deadline = await rig.ledger.fetchval(
        "SELECT extract(epoch FROM deadline) * 1000 FROM reservations WHERE reservation_id = $1",
        history.reservation_id("gus"),
    )
    assert deadline == START_MS + HOLD_MS + 60_000
    assert await rig.letters() == []


async def test_replaying_the_whole_log_changes_nothing(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.writer.apply(history.entries)
    before = await rig.dump()
    await rig.writer.apply(history.entries)
    await rig.writer.apply(history.entries[5:9] + history.entries[2:7])
    assert await rig.dump() == before


@pytest.mark.parametrize("seed", range(6))
async def test_however_it_is_cut_repeated_and_shuffled_the_ledger_is_the_same(
    rig: Rig, sale_id: str, seed: int
) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.writer.apply(history.entries)
    expected = await rig.dump()
    for table in ("order_lines", "reservations", "ledger_events"):
        await rig.ledger.execute(f"TRUNCATE {table} CASCADE")
    await rig.ledger.execute(
        "UPDATE stock_accounts SET adjusted = 0, available = loaded, held = 0, sold = 0"
    )
    await rig.ledger.execute("UPDATE sale_items SET paused = false")
    await rig.ledger.execute("UPDATE watermarks SET sequence = 0, fingerprint = NULL")

    print(f"seed {seed}")
    chance = random.Random(seed)
    await rig.put(history.entries)  # a gap made by the shuffle is read from the outbox
    copies = [*history.entries, *chance.sample(history.entries, 8)]
    if seed % 2:
        chance.shuffle(copies)
    while copies:
        size = chance.randint(1, 7)
        batch, copies = copies[:size], copies[size:]
        chance.shuffle(batch)
        await rig.writer.apply(batch)
    assert await rig.dump() == expected


async def test_a_gap_is_read_from_the_outbox(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.put(history.entries)
    await rig.writer.apply(history.entries[:3])
    await rig.writer.apply(history.entries[10:])
    assert await rig.position(history) == Position(1, history.sequence)
    assert await rig.stopped(history) is None


async def test_a_gap_larger_than_a_batch_is_filled(settings: Settings, sale_id: str) -> None:
    async with open_rig(settings, batch_max_events=4) as rig:
        (history,) = await rig.open_sale(sale_id)
        everything(history)
        await rig.put(history.entries)
        await rig.writer.apply(history.entries[-1:])
        assert await rig.position(history) == Position(1, history.sequence)


async def test_a_gap_that_is_nowhere_stops_its_partition_and_no_other(
    rig: Rig, sale_id: str
) -> None:
    broken, sound = await rig.open_sale(sale_id, partitions=2)
    everything(broken)
    everything(sound)
    await rig.writer.apply(broken.entries[:3] + broken.entries[4:] + sound.entries)

    assert await rig.stopped(broken) == "gap: 1-3 has no successor"
    assert await rig.position(broken) == Position(1, 3)
    assert await rig.stopped(sound) is None
    assert await rig.position(sound) == Position(1, sound.sequence)
    before = await rig.dump()
    await rig.writer.apply(broken.entries)
    assert await rig.dump() == before, "a stopped partition applies nothing"


async def test_a_partition_that_a_person_lets_go_on_catches_up(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.writer.apply(history.entries[:3] + history.entries[4:])
    assert await rig.stopped(history) is not None
    await rig.put(history.entries)
    await rig.ledger.execute("UPDATE watermarks SET stopped_reason = NULL")
    for _ in range(3):  # seen behind, seen to stand still, caught up
        await rig.watch.compare()
    assert await rig.position(history) == Position(1, history.sequence)


async def test_other_bytes_under_an_applied_number_are_a_fork(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    other = History(history.partition)
    other.load()
    forged = other.reserve("bob")
    await rig.writer.apply(history.entries)
    await rig.writer.apply([forged, history.reserve("cid")])
    assert await rig.stopped(history) == "forked: the ledger has another 1-2"
    assert await rig.position(history) == Position(1, 2), "nothing beyond the fork is applied"


async def test_two_events_with_one_number_in_a_batch_are_a_fork(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    other = History(history.partition)
    other.load()
    await rig.writer.apply([*history.entries, other.reserve("bob")])
    assert await rig.stopped(history) == "forked: two events have number 1-2"
    assert await rig.position(history) == Position(1, 1)


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_outbox_with_other_bytes_at_the_watermark_is_a_fork_where_it_is_trusted(
    rig: Rig, sale_id: str, is_trusted: bool
) -> None:
    """Where the server run is not trusted, the partition answers nobody and recovery rebuilds it: a
    stopped partition would wait for a person.
    """
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    await rig.writer.apply(history.entries)
    other = History(history.partition)
    other.load()
    other.reserve("bob")
    await rig.put(other.entries)
    run_id = await read_run_id(rig.redis) if is_trusted else "the one before"
    await rig.redis.hset(f"{{{history.partition}}}:meta", "run_id", run_id)
    await rig.watch.compare()
    stopped = "forked: the outbox has another 1-2" if is_trusted else None
    assert await rig.stopped(history) == stopped


@pytest.mark.parametrize("name", ["meta", "outbox"])
async def test_a_damaged_partition_does_not_keep_the_others_waiting(
    rig: Rig, sale_id: str, name: str
) -> None:
    (damaged,) = await rig.open_sale(f"{sale_id}-damaged")
    await rig.redis.set(f"{{{damaged.partition}}}:{name}", "another type")
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.put(history.entries)
    for _ in range(3):
        await rig.watch.compare()
    assert await rig.position(history) == Position(1, history.sequence)


async def test_silence_of_the_log_is_noticed_and_filled(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.put(history.entries)
    await rig.watch.compare()
    tail = await rig.ledger.fetchval("SELECT tail_sequence FROM watermarks")
    assert tail == history.sequence
    for _ in range(2):
        await rig.watch.compare()
    assert await rig.position(history) == Position(1, history.sequence)


async def test_a_new_epoch_follows_where_the_ledger_closed_the_old_one(
    rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    history.reserve("bob")
    history.cancel("bob")
    await rig.close_epoch(history, next_epoch=3)  # epoch 2 was allotted and never used
    history.recover(3, shift_ms=5000)
    history.reserve("cid")
    await rig.writer.apply(history.entries)

    assert await rig.position(history) == Position(3, 2)
    deadlines = await rig.ledger.fetch(
        "SELECT buyer_id, (extract(epoch FROM deadline) * 1000)::bigint AS at FROM reservations"
    )
    moved = {row["buyer_id"]: row["at"] for row in deadlines}
    assert moved["ann"] == START_MS + 1000 + HOLD_MS + 5000
    assert moved["bob"] == START_MS + 2000 + HOLD_MS, "what is resolved has no clock"
    assert moved["cid"] == START_MS + 5000 + HOLD_MS, "already on the moved clock"


async def test_an_epoch_that_does_not_follow_is_refused(rig: Rig, sale_id: str) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    await rig.close_epoch(history, next_epoch=2)
    history.recover(2, previous=Position(1, 1))
    await rig.writer.apply(history.entries)
    assert await rig.stopped(history) == "recover_refused: 2-1 does not follow 1-2"
    assert await rig.position(history) == Position(1, 2)


async def test_an_epoch_the_ledger_has_not_closed_stops_the_partition(
    rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.recover(2)
    await rig.writer.apply(history.entries)
    assert await rig.stopped(history) == "epoch_unknown: 2-1 follows 1-1, an epoch not closed"


async def test_events_beyond_the_close_of_their_epoch_are_never_applied(
    rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load()
    await rig.close_epoch(history, next_epoch=2)
    late = history.reserve("ann")
    late_again = History(history.partition, epoch=2, sequence=0)
    late_again.recover(2, previous=Position(1, 1))
    late_again.reserve("bob")
    await rig.writer.apply([history.entries[0], late])
    await rig.writer.apply([*late_again.entries, late])
    assert await rig.position(history) == Position(2, 2)
    assert await rig.state_of(history, "ann") is None
    assert await rig.letters() == [(2, "fenced", "dead")], "the same copy is one letter"


async def test_stock_loaded_otherwise_than_the_ledger_opened_it_is_refused(
    rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    history.load(units=UNITS + 1)
    await rig.writer.apply(history.entries)
    assert await rig.letters() == [(1, "refused", "dead")]
