"""The consumer group's offsets under another run of the ledger."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from order_writer.log.event_log import LogOffset, Watermark
from order_writer.log.kafka_log import KafkaLog
from tests.support.sales.history import History, Rig, open_rig
from tests.support.sales.topic import fetched, produce
from tests.support.waiting import WAIT_SECONDS

EVENTS = 6


@pytest.fixture(autouse=True)
def patient_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("order_writer.log.kafka_log.COMMIT_TIMEOUT_SECONDS", WAIT_SECONDS)


@pytest_asyncio.fixture
async def rig(on_kafka: Settings) -> AsyncIterator[Rig]:
    async with open_rig(on_kafka, log=KafkaLog(on_kafka.event_log)) as opened:
        yield opened


@pytest_asyncio.fixture
async def history(on_kafka: Settings, rig: Rig, sale_id: str) -> History:
    """Events that were applied and committed."""
    (history,) = await rig.open_sale(sale_id)
    history.load()
    for number in range(EVENTS - 1):
        history.reserve(f"buyer-{number}")
    await produce(on_kafka.event_log, history.entries)
    await rig.writer.write(await fetched(rig.writer.log, EVENTS))
    await rig.writer.log.commit()
    await rig.writer.log.close()
    return history


async def place_of(rig: Rig) -> str:
    """The topic partition that has the events."""
    (place,) = await rig.ledger.fetchval(
        "SELECT array(SELECT jsonb_object_keys(log_offsets)) FROM watermarks"
    )
    return str(place)


def older(history: History, place: str, events: int) -> tuple[list[Watermark], dict[str, int]]:
    """Marks and newest offsets of a ledger that has so many events."""
    offsets = (LogOffset(place, events - 1),) if events else ()
    mark = Watermark(history.partition, Position(1, events), offsets)
    return [mark], {place: events - 1} if events else {}


@pytest.mark.parametrize("events", [0, 1, 4])
async def test_an_older_ledger_is_read_to_again_and_a_restart_does_not_jump_ahead(
    on_kafka: Settings, rig: Rig, history: History, events: int
) -> None:
    """Also where the mark has no offset yet: then by the partition's key, from the beginning."""
    marks, newest = older(history, await place_of(rig), events)
    first = KafkaLog(on_kafka.event_log)
    first.rewind("another run", marks, newest)
    batch = await fetched(first, EVENTS - events)
    assert [entry.position.sequence for entry in batch.entries] == list(
        range(events + 1, EVENTS + 1)
    )
    await first.close()  # before anything of it was applied
    second = KafkaLog(on_kafka.event_log)
    batch = await fetched(second, EVENTS - events)
    assert batch.entries[0].position.sequence == events + 1
    await second.close()


async def test_what_is_fetched_is_not_committed_beyond_an_older_ledger(
    on_kafka: Settings, rig: Rig, history: History
) -> None:
    """The ledger is put back between the fetch and the commit."""
    log = KafkaLog(on_kafka.event_log)
    log.rewind("a run", *older(history, await place_of(rig), EVENTS))
    await produce(on_kafka.event_log, [history.reserve("late")])
    await fetched(log, 1)
    log.rewind("another run", *older(history, await place_of(rig), 2))
    await log.commit()
    batch = await fetched(log, EVENTS + 1 - 2)
    assert batch.entries[0].position.sequence == 3
    await log.close()


async def test_a_ledger_that_only_restarted_is_read_on(
    on_kafka: Settings, rig: Rig, history: History
) -> None:
    log = KafkaLog(on_kafka.event_log)
    log.rewind("another run", *older(history, await place_of(rig), EVENTS))
    late = history.reserve("late")
    await produce(on_kafka.event_log, [late])
    batch = await fetched(log, 1)
    assert [entry.position for entry in batch.entries] == [late.position]
    await log.close()


async def test_a_topic_partition_of_this_run_is_not_compared_again(
    on_kafka: Settings, rig: Rig, history: History
) -> None:
    """Another writer has it after a rebalance, with marks as they were when the run began."""
    place = await place_of(rig)
    first = KafkaLog(on_kafka.event_log)
    first.rewind("another run", *older(history, place, 2))
    await fetched(first, EVENTS - 2)
    await first.commit()
    await first.close()
    second = KafkaLog(on_kafka.event_log)
    second.rewind("another run", *older(history, place, 2))
    late = history.reserve("late")
    await produce(on_kafka.event_log, [late])
    batch = await fetched(second, 1)
    assert [entry.position for entry in batch.entries] == [late.position]
    await second.close()
