"""Whether the ledger has everything the event log has: asked before an epoch is closed.

With the outbox as event log there is nothing beyond the outbox. Kafka may hold events that Redis
has lost and the ledger has not applied yet; they must be applied first, or an acknowledged
reservation would be fenced off. A Kafka that cannot be asked keeps the partition closed.
"""

from aiokafka import AIOKafkaConsumer, TopicPartition

from config.settings import EventLogSettings
from gateway.inventory.errors import Recovering
from gateway.process.kafka import FAULTS, kafka_within, stop_client

ASK_SECONDS = 10.0


async def require_log_applied(settings: EventLogSettings) -> None:
    """Return where the writers have committed every offset up to the log's end.

    Raises Recovering where they have not, or Kafka cannot be asked within ASK_SECONDS.
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
        async with kafka_within(ASK_SECONDS):
            await consumer.start()
            await _compare(consumer, settings.topic)
    except FAULTS as error:
        raise Recovering(f"the event log cannot be asked for its end: {error!r}") from error
    finally:
        await stop_client(consumer)


async def _compare(consumer: AIOKafkaConsumer, topic: str) -> None:
    # `topics()` would ask the broker and keep the answer to itself.
    await consumer._client.force_metadata_update()  # noqa: SLF001
    partitions = [
        TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()
    ]
    if not partitions:
        raise Recovering(f"the event log has no topic {topic}")
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    for partition, end in ends.items():
        done = await consumer.committed(partition)
        # A committed offset beyond the end belongs to a log that has lost its end since: other
        # events lie there now, and the writers read them from the beginning.
        if begins[partition] < end != done:
            raise Recovering(
                f"the ledger is at {done or 0} of {end} in {topic}/{partition.partition}"
            )
