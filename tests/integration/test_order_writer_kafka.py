"""Kafka as the event log, through a real broker."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from config.settings import EventLogSettings, Settings
from gateway.inventory.events import Position
from order_writer.kafka_log import KafkaLog
from order_writer.log import Batch, LogEntry
from order_writer.service import run
from tests.support.history import Rig, everything, open_rig
from tests.support.pipeline import running
from tests.support.waiting import wait_until

WAIT_SECONDS = 60.0


@pytest.fixture
def on_kafka(settings: Settings, kafka_event_log: EventLogSettings) -> Settings:
    return settings.model_copy(update={"event_log": kafka_event_log})


@pytest_asyncio.fixture
async def rig(on_kafka: Settings) -> AsyncIterator[Rig]:
    async with open_rig(on_kafka, log=KafkaLog(on_kafka.event_log)) as opened:
        yield opened


async def _produce(settings: EventLogSettings, entries: Sequence[LogEntry]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    await producer.start()
    try:
        for entry in entries:
            headers = [
                ("epoch", b"%d" % entry.position.epoch),
                ("sequence", b"%d" % entry.position.sequence),
            ]
            key = str(entry.partition).encode()
            await producer.send_and_wait(settings.topic, entry.raw, key=key, headers=headers)
    finally:
        await producer.stop()


async def _fetch(log: KafkaLog, count: int) -> Batch:
    """Fetch until so many entries have come."""
    batch = Batch([], [])

    async def fetched() -> bool:
        more = await log.fetch(100, 0.2)
        batch.entries.extend(more.entries)
        batch.foreign.extend(more.foreign)
        return len(batch.entries) + len(batch.foreign) >= count

    await wait_until(fetched, WAIT_SECONDS, f"{count} records")
    return batch


async def test_records_are_delivered_again_until_they_are_committed(
    on_kafka: Settings, rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await _produce(on_kafka.event_log, history.entries)
    for is_committed in (False, True):
        log = KafkaLog(on_kafka.event_log)
        batch = await _fetch(log, len(history.entries))
        assert [entry.raw for entry in batch.entries] == [e.raw for e in history.entries]
        await rig.writer.write(batch)
        if is_committed:
            await log.commit()
        await log.close()
    log = KafkaLog(on_kafka.event_log)
    more = history.reserve("new")
    await _produce(on_kafka.event_log, [more])
    batch = await _fetch(log, 1)
    await log.close()
    assert [entry.position for entry in batch.entries] == [more.position]
    offsets = await rig.ledger.fetchval("SELECT log_offsets FROM watermarks")
    assert f"{on_kafka.event_log.topic}:" in offsets


async def test_a_gap_that_the_outbox_does_not_have_is_read_by_rewinding(
    on_kafka: Settings, rig: Rig, sale_id: str
) -> None:
    (history, other) = await rig.open_sale(sale_id, partitions=2)
    everything(history)
    everything(other)
    await _produce(on_kafka.event_log, [*history.entries, *other.entries])
    await rig.writer.apply(history.entries[:4])
    await rig.writer.apply(history.entries[9:])
    assert await rig.stopped(history) is None
    assert await rig.position(history) == Position(1, history.sequence)
    assert await rig.position(other) == Position(1, 0)


async def test_a_gap_is_nowhere_when_neither_has_it(
    on_kafka: Settings, rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await _produce(on_kafka.event_log, history.entries[5:])
    await rig.writer.apply(history.entries[5:])
    assert await rig.stopped(history) == "gap: 1-0 has no successor"


async def test_records_that_are_not_ours_are_told_apart(
    on_kafka: Settings, sale_id: str, rig: Rig
) -> None:
    (history,) = await rig.open_sale(sale_id)
    settings = on_kafka.event_log
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    numbered = [("epoch", b"1"), ("sequence", b"1")]
    await producer.send_and_wait(settings.topic, b"hello")
    await producer.send_and_wait(settings.topic, b"x", key=b"NO:0", headers=numbered)
    await producer.send_and_wait(settings.topic, None, key=b"sale:0", headers=numbered[:1])
    await producer.stop()
    history.load()
    await _produce(settings, history.entries)
    async with running(run, on_kafka):

        async def done() -> bool:
            return (await rig.position(history)).sequence == 1 and len(await rig.letters()) == 3

        await wait_until(done, WAIT_SECONDS, "three letters and one event")
    assert {reason for _, reason, _ in await rig.letters()} == {"unnumbered"}


async def test_what_the_log_never_delivers_is_read_from_the_outbox(
    on_kafka: Settings, rig: Rig, sale_id: str
) -> None:
    """The relay is down: Kafka stays silent, the outbox fills, the ledger follows all the same."""
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await rig.put(history.entries)
    async with running(run, on_kafka):

        async def done() -> bool:
            return (await rig.position(history)).sequence == history.sequence

        await wait_until(done, WAIT_SECONDS, "the ledger has caught up with the outbox")
