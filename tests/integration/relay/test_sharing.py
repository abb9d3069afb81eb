"""A round of the relay: an equal share of each partition, and the rest to whoever has more."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.redis.outbox import create_reader
from gateway.relay.producer import EventProducer, Outgoing
from gateway.relay.relay import Relay, RelayConfig

ROUND_EVENTS = 200
PARTITIONS = [PartitionId(f"sale-{number}", 0) for number in range(50)]


class Recorded(EventProducer):
    """Takes everything at once, and remembers it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.event_log)
        self.rounds: list[list[Outgoing]] = []

    async def produce(self, events: Sequence[Outgoing]) -> list[Outgoing]:
        self.rounds.append(list(events))
        return list(events)

    def of(self, number: int) -> Counter[PartitionId]:
        """How many events of each partition the round had."""
        return Counter(event.partition for event in self.rounds[number])


@pytest_asyncio.fixture
async def log(settings: Settings) -> AsyncIterator[Recorded]:
    made = Recorded(settings)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def relay(settings: Settings, log: Recorded) -> AsyncIterator[Relay]:
    reader = create_reader(settings.redis)
    yield Relay(reader, log, RelayConfig(round_events=ROUND_EVENTS, block_milliseconds=1))
    await reader.aclose()


async def add(client: "redis.asyncio.Redis", partition: PartitionId, first: int, last: int) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        for sequence in range(first, last + 1):
            pipeline.xadd(outbox_key(partition), {"event": "{}"}, id=f"1-{sequence}")
        await pipeline.execute()


def check_order(log: Recorded, partition: PartitionId, last: int) -> None:
    """Every event of the partition once, in order."""
    carried = [event for events in log.rounds for event in events if event.partition == partition]
    assert [event.entry.position.sequence for event in carried] == list(range(1, last + 1))


async def test_what_quiet_sales_leave_of_a_round_goes_to_a_busy_sale(
    relay: Relay, log: Recorded, redis_client: "redis.asyncio.Redis"
) -> None:
    busy, *quiet = PARTITIONS
    await add(redis_client, busy, 1, 300)
    for partition in quiet:
        await add(redis_client, partition, 1, 1)
    for _ in range(3):
        assert await relay.run_round(PARTITIONS)
    assert [len(events) for events in log.rounds] == [ROUND_EVENTS, 149]
    assert log.of(0) == {busy: 151, **dict.fromkeys(quiet, 1)}
    for partition in PARTITIONS:
        check_order(log, partition, 300 if partition == busy else 1)


async def test_no_busy_sale_is_left_out_by_others_for_long(
    relay: Relay, log: Recorded, redis_client: "redis.asyncio.Redis"
) -> None:
    for partition in PARTITIONS:
        await add(redis_client, partition, 1, 40)
    for _ in range(10):
        assert await relay.run_round(PARTITIONS)
    assert [len(events) for events in log.rounds] == [ROUND_EVENTS] * 10
    for number in range(0, 10, 5):
        counted = log.of(number)
        for later in range(number + 1, number + 5):
            counted += log.of(later)
        assert min(counted[partition] for partition in PARTITIONS) >= 1
    for partition in PARTITIONS:
        check_order(log, partition, 40)
