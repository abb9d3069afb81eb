"""Which part of the event log a recovery waits for, and what it takes for a loss."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from config.settings import EventLogSettings
from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId
from reconciler.rebuilding.log_end import require_log_applied

OURS = PartitionId("ours", 0)
RUN = "this run of the ledger"


@pytest_asyncio.fixture
async def producer(kafka_event_log: EventLogSettings) -> AsyncIterator[AIOKafkaProducer]:
    opened = AIOKafkaProducer(bootstrap_servers=kafka_event_log.bootstrap)
    await opened.start()
    yield opened
    await opened.stop()


@pytest_asyncio.fixture
async def writers(kafka_event_log: EventLogSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Commits in the order writers' place."""
    opened = AIOKafkaConsumer(
        bootstrap_servers=kafka_event_log.bootstrap,
        group_id=kafka_event_log.group,
        enable_auto_commit=False,
    )
    await opened.start()
    yield opened
    await opened.stop()


async def send(
    producer: AIOKafkaProducer, log: EventLogSettings, key: PartitionId
) -> tuple[TopicPartition, int]:
    """One event; returns its topic partition and the log's end behind it."""
    sent = await producer.send_and_wait(log.topic, b"{}", key=str(key).encode())
    return TopicPartition(sent.topic, sent.partition), sent.offset + 1


async def sale_elsewhere(producer: AIOKafkaProducer, log: EventLogSettings) -> PartitionId:
    """A sale whose events lie in another topic partition than OURS, one of them not committed."""
    place, _ = await send(producer, log, OURS)
    for number in range(100):
        other = PartitionId(f"other-{number}", 0)
        if (await send(producer, log, other))[0] != place:
            return other
    raise AssertionError("every sale is in one topic partition")


async def commit(
    writers: AIOKafkaConsumer, place: TopicPartition, offset: int, run: str = RUN
) -> None:
    writers.assign([place])
    await writers.commit({place: OffsetAndMetadata(offset, run)})


async def test_what_another_sale_still_lacks_is_not_waited_for(
    kafka_event_log: EventLogSettings,
    producer: AIOKafkaProducer,
    writers: AIOKafkaConsumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = await sale_elsewhere(producer, kafka_event_log)
    await commit(writers, *await send(producer, kafka_event_log, OURS))
    await require_log_applied(kafka_event_log, OURS, RUN)
    monkeypatch.setattr("reconciler.rebuilding.log_end.APPLY_SECONDS", 0.2)
    with pytest.raises(Recovering, match="the ledger is at 0 of"):
        await require_log_applied(kafka_event_log, other, RUN)


async def test_a_log_that_never_stands_still_is_waited_for_to_the_end_it_had(
    kafka_event_log: EventLogSettings, producer: AIOKafkaProducer, writers: AIOKafkaConsumer
) -> None:
    """The writers are always some events behind, as they are while a busy sale shares the place."""
    ended = asyncio.Event()
    place, end = await send(producer, kafka_event_log, OURS)

    async def sell() -> None:
        nonlocal end
        while not ended.is_set():
            behind = end
            for _ in range(10):
                _, end = await send(producer, kafka_event_log, OURS)
            await commit(writers, place, behind)

    selling = asyncio.ensure_future(sell())
    try:
        await require_log_applied(kafka_event_log, OURS, RUN)
    finally:
        ended.set()
        await selling


async def test_a_log_that_lost_its_end_keeps_the_partition_closed_until_it_is_read_again(
    kafka_event_log: EventLogSettings, producer: AIOKafkaProducer, writers: AIOKafkaConsumer
) -> None:
    place, end = await send(producer, kafka_event_log, OURS)
    await commit(writers, place, end + 100)
    with pytest.raises(Recovering, match=f"lost its end: .* ends at {end}, the ledger had"):
        await require_log_applied(kafka_event_log, OURS, RUN)
    await commit(writers, place, end)
    await require_log_applied(kafka_event_log, OURS, RUN)


async def test_what_another_run_of_the_ledger_had_is_waited_for(
    kafka_event_log: EventLogSettings,
    producer: AIOKafkaProducer,
    writers: AIOKafkaConsumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ledger that came back older lacks events that were committed before."""
    place, end = await send(producer, kafka_event_log, OURS)
    await commit(writers, place, end, "the run before")
    monkeypatch.setattr("reconciler.rebuilding.log_end.APPLY_SECONDS", 0.2)
    with pytest.raises(Recovering, match=f"the ledger is at 0 of {end}"):
        await require_log_applied(kafka_event_log, OURS, RUN)
    await commit(writers, place, end)
    await require_log_applied(kafka_event_log, OURS, RUN)
