"""Whether the ledger has all that the event log has of a partition: asked before a close.

With the outbox as event log there is nothing beyond the outbox. Kafka may hold events that Redis
has lost and the ledger has not applied yet; they must be applied first, or an acknowledged
reservation would be fenced off. A Kafka that cannot be asked keeps the partition closed.

Only the topic partition that has the key is looked at, up to its end as it was when the lead of the
partition's relay had been taken: what other sales add afterwards is not waited for.
"""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from config.settings import EventLogSettings
from config.waiting import poll_until
from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId
from gateway.process.kafka import FAULTS, kafka_within, read_committed, stop_client

ASK_SECONDS = 10.0
# How long the writers may take to reach the end; after that the partition is tried again later.
APPLY_SECONDS = 5.0
LOOK_SECONDS = 0.05
LOOK_MOST_SECONDS = 0.5

_place_of_key = DefaultPartitioner()  # as the relay's producer has it


async def require_log_applied(settings: EventLogSettings, partition: PartitionId, run: str) -> None:
    """Return where the writers have committed everything that the log has of `partition`, for this
    run of the ledger: another run may have had more than this one has.

    Waits up to APPLY_SECONDS for it. Raises Recovering where they have not by then, where the log
    has lost its end, or where Kafka cannot be asked within ASK_SECONDS.
    """
    if settings.kind == "outbox":
        return
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        group_id=settings.group,
        enable_auto_commit=False,
        request_timeout_ms=settings.request_timeout_milliseconds,
    )
    try:
        async with kafka_within(ASK_SECONDS + APPLY_SECONDS):
            await consumer.start()
            place = await _place(consumer, settings.topic, partition)
            await _wait_for_end(consumer, place, run)
    except FAULTS as error:
        raise Recovering(f"the event log cannot be asked for its end: {error!r}") from error
    finally:
        await stop_client(consumer)


async def _place(consumer: AIOKafkaConsumer, topic: str, partition: PartitionId) -> TopicPartition:
    """The topic partition that has the events of `partition`."""
    # `topics()` would ask the broker and keep the answer to itself.
    await consumer._client.force_metadata_update()  # noqa: SLF001
    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    if not numbers:
        raise Recovering(f"the event log has no topic {topic}")
    return TopicPartition(topic, _place_of_key(str(partition).encode(), numbers, numbers))


async def _wait_for_end(consumer: AIOKafkaConsumer, place: TopicPartition, run: str) -> None:
    # In this order: the end may grow and the offset follow it, which is no loss.
    done = await _committed(consumer, place, run)
    begin = (await consumer.beginning_offsets([place]))[place]
    end = (await consumer.end_offsets([place]))[place]
    if begin == end:
        return
    if done is not None and done > end:
        # Other events lie now where committed ones lay: the writers read them from the beginning.
        raise Recovering(
            f"the log has lost its end: {place.topic}/{place.partition} ends at {end}, "
            f"the ledger had {done}"
        )

    async def applied() -> bool:
        nonlocal done
        done = await _committed(consumer, place, run)
        return done is not None and done >= end

    if not await poll_until(
        applied, APPLY_SECONDS, first_seconds=LOOK_SECONDS, most_seconds=LOOK_MOST_SECONDS
    ):
        raise Recovering(
            f"the ledger is at {done or 0} of {end} in {place.topic}/{place.partition}"
        )


async def _committed(consumer: AIOKafkaConsumer, place: TopicPartition, run: str) -> int | None:
    """What the writers have committed for this run of the ledger; None: nothing yet."""
    committed = (await read_committed(consumer, [place])).get(place)
    return committed.offset if committed is not None and committed.metadata == run else None
