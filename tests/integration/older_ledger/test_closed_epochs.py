"""Before anything is applied, a ledger learns again which epochs it had closed."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.keys import partition_keys
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.types import ClosedEpoch
from tests.support.sales.history import History, Rig, open_rig


@pytest_asyncio.fixture
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    async with open_rig(settings) as opened:
        yield opened


async def remember(
    rig: Rig, history: History, *closed: ClosedEpoch, run_id: str | None = None
) -> None:
    """What the partition has stored of the ledger, in epoch 2."""
    fields: dict[str | bytes, str | bytes] = {
        "run_id": run_id or await read_run_id(rig.redis),
        "epoch": "2",
        "ledger_sequence": "0",
        "closed_epochs": msgspec.msgpack.encode(closed),
    }
    await rig.redis.hset(partition_keys(history.partition)[0], mapping=fields)  # type: ignore[arg-type]


async def fenced(rig: Rig, sale_id: str) -> History:
    """A history of two events whose third is fenced: the epoch was closed at 2."""
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann")
    history.reserve("fenced")
    return history


async def test_fenced_events_of_a_forgotten_epoch_stay_out(rig: Rig, sale_id: str) -> None:
    history = await fenced(rig, sale_id)
    await remember(rig, history, ClosedEpoch(1, 2, "00" * 8, 2))
    await rig.writer.apply(history.entries[:1])
    later = History(history.partition)
    later.recover(2, previous=Position(1, 2))
    later.reserve("bob")
    await rig.writer.apply([*history.entries, *later.entries])
    assert await rig.position(history) == Position(2, 2)
    assert await rig.state_of(history, "fenced") is None
    assert await rig.state_of(history, "bob") == "held"
    assert await rig.letters() == [(3, "fenced", "dead")]
    assert await rig.ledger.fetchval("SELECT encode(fingerprint, 'hex') FROM closed_epochs") == (
        "00" * 8
    )


async def test_without_the_memory_they_would_be_applied(rig: Rig, sale_id: str) -> None:
    """The negative control of the test above."""
    history = await fenced(rig, sale_id)
    await rig.writer.apply(history.entries)
    assert await rig.state_of(history, "fenced") == "held"


async def test_a_ledger_that_has_applied_fenced_events_stops_as_forked(
    rig: Rig, sale_id: str
) -> None:
    history = await fenced(rig, sale_id)
    await rig.writer.apply(history.entries)
    await remember(rig, history, ClosedEpoch(1, 2, "", 2))
    rig.writer.ledger.run = "before the restart"
    await rig.watch.compare()
    assert await rig.stopped(history) == "forked: the ledger is at 1-3, its epoch ended at 2"


async def test_a_partition_that_does_not_answer_yet_is_left_to_recovery(
    rig: Rig, sale_id: str
) -> None:
    history = await fenced(rig, sale_id)
    await rig.writer.apply(history.entries)
    await remember(rig, history, ClosedEpoch(1, 2, "", 2), run_id="the one before")
    rig.writer.ledger.run = "before the restart"
    await rig.watch.compare()
    assert await rig.stopped(history) is None
    assert await rig.ledger.fetchval("SELECT count(*) FROM closed_epochs") == 0


@pytest.mark.parametrize("field", ["closed_epochs", "epoch", "meta"])
async def test_a_damaged_memory_holds_up_nobody(rig: Rig, sale_id: str, field: str) -> None:
    (damaged,) = await rig.open_sale(f"{sale_id}-damaged")
    meta = partition_keys(damaged.partition)[0]
    if field == "meta":
        await rig.redis.set(meta, "another type")
    else:
        await rig.redis.hset(meta, field, "damaged")
    history = await fenced(rig, sale_id)
    await remember(rig, history, ClosedEpoch(1, 2, "", 2))
    await rig.writer.apply([damaged.load(), *history.entries])
    assert await rig.position(damaged) == Position(1, 1)
    assert await rig.position(history) == Position(1, 2)


async def test_a_partition_that_comes_later_is_told_then(rig: Rig, sale_id: str) -> None:
    """A sale that was opened since is a draft in an older ledger until it is opened again."""
    (other,) = await rig.open_sale(f"{sale_id}-other")
    await rig.writer.apply([other.load()])
    history = await fenced(rig, sale_id)
    await remember(rig, history, ClosedEpoch(1, 2, "", 2))
    await rig.writer.apply(history.entries)
    assert await rig.position(history) == Position(1, 2)


async def test_a_run_of_the_ledger_is_asked_for_in_each_transaction(rig: Rig, sale_id: str) -> None:
    """A ledger that was put back between two batches is told before the second."""
    history = await fenced(rig, sale_id)
    await rig.writer.apply(history.entries[:1])
    await remember(rig, history, ClosedEpoch(1, 2, "", 2))
    rig.writer.ledger.run = "before the restart"
    await rig.writer.apply(history.entries[1:])
    assert await rig.position(history) == Position(1, 2)
