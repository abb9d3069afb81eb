"""Kafka as the event log, through a real broker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from config.settings import EventLogSettings, Settings
from config.stack.server import free_port
from gateway.inventory.events import Position
from gateway.process.kafka import kafka_within
from order_writer.letters.topic import DeadLetterTopic
from order_writer.log.event_log import Batch, Foreign
from order_writer.log.kafka_log import KafkaLog
from order_writer.service import run
from tests.support.sales.history import UNITS, Rig, everything, open_rig
from tests.support.sales.pipeline import running
from tests.support.sales.topic import fetched, produce
from tests.support.waiting import WAIT_SECONDS, wait_until


@pytest_asyncio.fixture
async def rig(on_kafka: Settings) -> AsyncIterator[Rig]:
    async with open_rig(on_kafka, log=KafkaLog(on_kafka.event_log)) as opened:
        yield opened


async def test_records_are_delivered_again_until_they_are_committed(
    on_kafka: Settings, rig: Rig, sale_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_writer.log.kafka_log.COMMIT_TIMEOUT_SECONDS", WAIT_SECONDS)
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    await produce(on_kafka.event_log, history.entries)
    for is_committed in (False, True):
        log = KafkaLog(on_kafka.event_log)
        batch = await fetched(log, len(history.entries))
        assert [entry.raw for entry in batch.entries] == [e.raw for e in history.entries]
        await rig.writer.write(batch)
        if is_committed:
            await log.commit()
        await log.close()
    log = KafkaLog(on_kafka.event_log)
    more = history.reserve("new")
    await produce(on_kafka.event_log, [more])
    batch = await fetched(log, 1)
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
    await produce(on_kafka.event_log, [*history.entries, *other.entries])
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
    await produce(on_kafka.event_log, history.entries[5:])
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
    await produce(settings, history.entries)
    async with running(run, on_kafka):

        async def done() -> bool:
            return (await rig.position(history)).sequence == 1 and len(await rig.letters()) == 3

        await wait_until(done, "three letters and one event")
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

        await wait_until(done, "the ledger has caught up with the outbox")


async def test_the_ledger_follows_while_the_broker_is_away(
    on_kafka: Settings, rig: Rig, sale_id: str
) -> None:
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    nobody = on_kafka.event_log.model_copy(update={"bootstrap": f"127.0.0.1:{free_port()}"})
    async with running(run, on_kafka.model_copy(update={"event_log": nobody})):
        await rig.put(history.entries)

        async def done() -> bool:
            return (await rig.position(history)).sequence == history.sequence

        await wait_until(done, "the ledger has caught up with the outbox")


async def test_a_dead_letter_is_told_to_its_topic_after_the_table(
    on_kafka: Settings, rig: Rig, sale_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_writer.letters.topic.PRODUCE_TIMEOUT_SECONDS", WAIT_SECONDS)
    (history,) = await rig.open_sale(sale_id)
    history.load()
    bad = history.garbage(b'{"v":1,"type":"res\x00')
    await rig.writer.write(Batch(history.entries, [Foreign("topic:0:7", "no key", b"hello")]))
    settings = on_kafka.event_log
    away = DeadLetterTopic(
        rig.writer.pool,
        settings.model_copy(update={"bootstrap": f"127.0.0.1:{free_port()}"}),
        rig.writer.stop,
    )
    with pytest.raises(KafkaError):
        await away.publish()
    assert await rig.ledger.fetchval("SELECT count(published_at) FROM dead_letters") == 0

    topic = DeadLetterTopic(rig.writer.pool, settings, rig.writer.stop)
    # The second writer's share, and then a crash after Kafka had it and before the mark.
    assert sum(await asyncio.gather(topic.publish(), topic.publish())) == 2
    assert await topic.publish() == 0
    await rig.ledger.execute("UPDATE dead_letters SET published_at = NULL WHERE sequence = 2")
    assert await topic.publish() == 1

    told = await _read_letters(settings, 3)
    assert [record.value for record in told].count(bad.raw) == 2
    by_value = {record.value: record for record in told}
    numbered, unnumbered = dict(by_value[bad.raw].headers), dict(by_value[b"hello"].headers)
    assert by_value[bad.raw].key == str(history.partition).encode()
    assert (numbered["epoch"], numbered["sequence"]) == (b"1", b"2")
    assert numbered["reason"] == b"undecodable"
    assert unnumbered["reason"] == b"unnumbered"
    assert by_value[b"hello"].key is None
    identities = {dict(record.headers)["identity"] for record in told}
    rows = await rig.ledger.fetch("SELECT identity FROM dead_letters")
    assert identities == {row["identity"].encode() for row in rows}


async def test_a_writer_tells_of_poison_by_itself_and_a_replay_is_not_told_again(
    on_kafka: Settings, rig: Rig, sale_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_writer.letters.topic.PRODUCE_TIMEOUT_SECONDS", WAIT_SECONDS)
    (history,) = await rig.open_sale(sale_id)
    history.load()
    history.reserve("ann", UNITS + 1)
    settings = on_kafka.event_log
    await produce(settings, history.entries)
    async with running(run, on_kafka):
        (told,) = await _read_letters(settings, 1)
        assert dict(told.headers)["reason"] == b"refused"
        history.adjust(10)
        await produce(settings, history.entries[-1:])
        await rig.ledger.execute(
            "UPDATE dead_letters SET status = 'replay_requested' WHERE sequence = 2"
        )

        async def replayed() -> bool:
            return await rig.letters() == [(2, "refused", "replayed")]

        await wait_until(replayed, "the letter is replayed after the fix")
    assert len(await _read_letters(settings, 1)) == 1


async def test_a_consumer_that_goes_silent_is_replaced(
    on_kafka: Settings, rig: Rig, sale_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some broker restarts an aiokafka consumer polls on and receives nothing."""
    (history,) = await rig.open_sale(sale_id)
    everything(history)
    log = KafkaLog(on_kafka.event_log)
    stuck = await log._started()

    async def nothing(**_: object) -> dict[TopicPartition, list[object]]:
        await asyncio.sleep(0.05)
        return {}

    monkeypatch.setattr(stuck, "getmany", nothing)
    monkeypatch.setattr("order_writer.log.kafka_log.SILENCE_SECONDS", WAIT_SECONDS)
    # With nothing to read, silence is no fault.
    await wait_until(stuck.assignment, "it is given partitions")
    await stuck.end_offsets(stuck.assignment())  # of a topic so new that its leaders are not known
    log._heard_at = -WAIT_SECONDS
    await log.fetch(100, 0.1)
    assert log._consumer is stuck
    await produce(on_kafka.event_log, history.entries)
    log._heard_at = -WAIT_SECONDS
    await log.fetch(100, 0.1)
    assert log._consumer is not stuck
    batch = await fetched(log, len(history.entries))
    assert [entry.raw for entry in batch.entries] == [entry.raw for entry in history.entries]
    await log.close()


async def test_a_consumer_that_cancels_itself_does_not_end_the_writer(
    on_kafka: Settings, rig: Rig, sale_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker is away, stopping cancels a fetch in the pause before it tries again."""
    monkeypatch.setattr("gateway.process.kafka.STOP_SECONDS", WAIT_SECONDS)
    await rig.open_sale(sale_id)
    log = KafkaLog(on_kafka.event_log)
    consumer = await log._started()
    retrying = asyncio.create_task(asyncio.sleep(WAIT_SECONDS))
    consumer._fetcher._pending_tasks.add(retrying)
    await log.close()
    assert retrying.cancelled()
    connections = consumer._client._conns.values()
    assert connections
    assert not any(connection.connected() for connection in connections)

    async def cancelled_from_outside() -> None:
        async with kafka_within(WAIT_SECONDS):
            await asyncio.sleep(WAIT_SECONDS)

    task = asyncio.create_task(cancelled_from_outside())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _read_letters(
    settings: EventLogSettings, count: int
) -> list["ConsumerRecord[bytes, bytes]"]:
    """The dead letters' topic from its beginning, once it has so many records."""
    consumer = AIOKafkaConsumer(
        settings.dead_letter_topic,
        bootstrap_servers=settings.bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    found: list[ConsumerRecord[bytes, bytes]] = []
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(found) < count:
                answer = await consumer.getmany(timeout_ms=500)
                found += [record for records in answer.values() for record in records]
    finally:
        await consumer.stop()
    return found


def test_a_connection_that_is_lost_just_now_is_an_outage_and_no_defect(
    kafka_event_log: EventLogSettings,
) -> None:
    async def ask() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka_event_log.bootstrap)
        async with kafka_within(WAIT_SECONDS):
            await consumer.start()
            client: Any = consumer._client
            node = client.get_random_node()
            assert await client.ready(node)
            for connection in list(client._conns.values()):
                connection._writer.transport.abort()
                await asyncio.sleep(
                    0
                )  # the connection is lost now, and its reader does not know it yet
                with pytest.raises(KafkaError):
                    await connection.send(MetadataRequest([]))
            assert await consumer.topics(), "over another connection"
            await consumer.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in production
        runner.run(ask())
