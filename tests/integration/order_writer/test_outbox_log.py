"""The outbox as the event log: how a batch is made up of several streams."""

from collections.abc import AsyncIterator

import pytest_asyncio
import redis.asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key, partition_keys
from gateway.inventory.redis.outbox import EVENT_FIELD, create_reader
from order_writer.log.event_log import LogEntry, Watermark
from order_writer.log.outbox import Outbox
from order_writer.log.outbox_log import OutboxLog

PARTITIONS = tuple(PartitionId(f"sale-{number}", 0) for number in range(4))
LONGEST = 300


@pytest_asyncio.fixture
async def log(settings: Settings) -> AsyncIterator[OutboxLog]:
    log = OutboxLog(
        create_reader(settings.redis, connections=1),
        block_seconds_limit=settings.redis.socket_timeout_seconds,
    )
    log.follow([Watermark(partition, Position(1, 0), ()) for partition in PARTITIONS])
    yield log
    await log.close()


async def _put(client: redis.asyncio.Redis, *lengths: int) -> None:
    for partition, length in zip(PARTITIONS, lengths, strict=False):
        pipeline = client.pipeline(transaction=False)
        for sequence in range(1, length + 1):
            pipeline.xadd(outbox_key(partition), {EVENT_FIELD: b"{}"}, id=f"1-{sequence}")
        await pipeline.execute()


def _numbers(entries: list[LogEntry], partition: PartitionId) -> list[int]:
    return [entry.position.sequence for entry in entries if entry.partition == partition]


async def test_a_batch_is_full_where_one_stream_alone_could_fill_it(
    log: OutboxLog, redis_client: redis.asyncio.Redis
) -> None:
    await _put(redis_client, LONGEST)
    batch = await log.fetch(100, 0.0)
    assert _numbers(batch.entries, PARTITIONS[0]) == list(range(1, 101))


async def test_a_long_stream_does_not_keep_the_others_out(
    log: OutboxLog, redis_client: redis.asyncio.Redis
) -> None:
    await _put(redis_client, LONGEST, 10, LONGEST, 30)
    batch = await log.fetch(100, 0.0)
    counts = [len(_numbers(batch.entries, partition)) for partition in PARTITIONS]
    assert sum(counts) == 100
    assert all(
        count >= min(length, 25) for count, length in zip(counts, (300, 10, 300, 30), strict=True)
    )


async def test_a_backlog_is_read_a_few_streams_at_a_time_in_turn(
    log: OutboxLog, redis_client: redis.asyncio.Redis
) -> None:
    await _put(redis_client, *(LONGEST,) * len(PARTITIONS))
    batches = [(await log.fetch(256, 0.0)).entries for _ in range(4)]
    of_streams = [
        {entry.partition: len(_numbers(batch, entry.partition)) for entry in batch}
        for batch in batches
    ]
    one, two, three, four = PARTITIONS
    assert of_streams == [
        {one: 64, two: 64, three: 64, four: 64},
        {one: 128, two: 128},
        {three: 128, four: 128},
        {one: 108, two: 108, three: 24, four: 16},
    ]
    rest = (await log.fetch(256, 0.0)).entries
    assert (len(rest), len(_numbers(rest, three)), len(_numbers(rest, four))) == (176, 84, 92)


async def test_everything_comes_once_and_in_order(
    log: OutboxLog, redis_client: redis.asyncio.Redis
) -> None:
    lengths = (LONGEST, 10, 200, 30)
    await _put(redis_client, *lengths)
    entries: list[LogEntry] = []
    while batch := (await log.fetch(64, 0.0)).entries:
        assert len(batch) <= 64
        entries += batch
    for partition, length in zip(PARTITIONS, lengths, strict=True):
        assert _numbers(entries, partition) == list(range(1, length + 1))


async def test_only_of_outboxes_that_go_on_is_more_read_than_the_end(
    redis_client: redis.asyncio.Redis,
) -> None:
    """At its end, beyond it, ahead of an outbox that was lost, and without any outbox."""
    await _put(redis_client, 3, 5, 2)
    run_id = (await redis_client.info("server"))["run_id"]
    for partition in PARTITIONS[:3]:
        await redis_client.hset(partition_keys(partition)[0].decode(), "run_id", run_id)
    await redis_client.config_resetstat()
    ends = await Outbox(redis_client).ends(
        [Watermark(partition, Position(1, 3), ()) for partition in PARTITIONS]
    )
    copies = [end.copy and (end.copy.partition, end.copy.position) for end in ends]
    at = Position(1, 3)
    assert copies == [(PARTITIONS[0], at), (PARTITIONS[1], at), None, None]
    assert [end.tail for end in ends] == [at, Position(1, 5), Position(1, 2), None]
    assert [end.is_trusted for end in ends] == [True, True, True, False]
    calls = await redis_client.info("commandstats")
    assert calls["cmdstat_xrange"]["calls"] == 3
    assert await Outbox(redis_client).ends([]) == []
