"""With Kafka as the event log: the broker and the relay die, relays fight, the topic repeats."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.chaos.faults.damage import truncate_topic
from tests.chaos.faults.extra import extra
from tests.chaos.faults.kafka import Record, is_consumed, is_relayed, produce_again, read_sale
from tests.chaos.rig.running import UNHURRIED, running_up
from tests.chaos.rig.trial import Trial, trial
from tests.support.up import Up
from tests.support.waiting import wait_until

TRUNCATED_BYTES = 2000  # some batches of events, the last one in the middle
LEDGER_ROWS = """
SELECT (SELECT count(*) FROM ledger_events WHERE sale_id = $1) AS events,
       (SELECT sum(last_sequence) FROM reservations WHERE sale_id = $1) AS last_sequences,
       (SELECT count(*) FROM dead_letters WHERE sale_id = $1) AS dead_letters
"""


@pytest_asyncio.fixture(scope="module")
async def kafka_up() -> AsyncIterator[Up]:
    """A `dropgate up` with a broker."""
    async with running_up("--event-log", "kafka", environment=UNHURRIED) as running:
        yield running


@pytest.mark.parametrize("name", ["kafka", "relay"])
async def test_a_killed_part_of_the_log_is_not_noticed_by_buyers(kafka_up: Up, name: str) -> None:
    async with trial(kafka_up) as run:
        async with run.load.running():
            await run.under_way()
            for _ in range(2):
                await run.kill_and_wait(name)
                await run.goes_on()
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def test_what_the_log_has_is_not_lost_with_redis(kafka_up: Up) -> None:
    async with trial(kafka_up) as run:
        async with run.load.running():
            await run.under_way()
            async with run.down("order_writer"):
                await run.goes_on()
                async with run.stopped("gateway", "reconciler"):
                    await wait_until(lambda: is_relayed(run), "Kafka has it all")
                    assert await run.watermark() < await run.position()
                    async with run.redis() as redis:
                        await redis.flushall()
            await run.goes_on()
        await run.judge()
        assert await run.rebuilds() >= 1


async def test_two_relays_at_once_and_one_that_slept_do_no_harm(kafka_up: Up) -> None:
    async with trial(kafka_up) as run:
        async with run.load.running(), extra(kafka_up, "relay"):
            await run.under_way()
            async with run.stopped("relay"):
                await run.goes_on(served=30, fresh=8)
                async with run.stopped("gateway"):
                    await run.drained()  # the other order writer applies the rest
            await run.goes_on(served=30, fresh=8)
        await run.judge()


async def test_a_topic_replayed_from_its_beginning_changes_nothing(kafka_up: Up) -> None:
    async with trial(kafka_up) as run:
        async with run.load.running():
            await run.under_way()
            await run.drained()
            records = await wait_until(
                lambda: _many_records(kafka_up, run), "they are in the topic"
            )
            await produce_again(kafka_up, records)
            await run.goes_on()
        await run.judge()
        before = await run.ledger_row(LEDGER_ROWS)
        await produce_again(kafka_up, await read_sale(kafka_up, run.sale_id))
        await wait_until(lambda: is_consumed(kafka_up), "all of it is read again")
        assert await run.ledger_row(LEDGER_ROWS) == before
        await run.judge()


async def test_what_the_log_lost_is_made_good_from_the_outbox_though_nobody_buys(
    kafka_up: Up,
) -> None:
    """A broker does not fsync: after a loss of power it may lack what it has acknowledged."""
    async with trial(kafka_up) as run:
        async with run.load.running():
            await run.under_way()
            async with AsyncExitStack() as silence:
                async with run.down("order_writer"):
                    await run.goes_on(served=30, fresh=8)
                    await silence.enter_async_context(run.stopped("gateway", "reconciler"))
                    await wait_until(lambda: is_relayed(run), "Kafka has it all")
                    async with run.down("kafka"):
                        truncate_topic(kafka_up.data / "kafka", TRUNCATED_BYTES)
                await run.drained()
                _, events = await run.watermark()
            # Recovery compares the log's end with offsets that lie beyond it.
            await run.kill_and_wait("redis")
            await run.goes_on(served=30, fresh=8)
        # Positions from before the log was cut; epoch 1 went on until Redis was killed.
        left = [dict(record.headers) for record in await read_sale(kafka_up, run.sale_id)]
        kept = {int(one["sequence"]) for one in left if one["epoch"] == b"1"}
        assert set(range(1, events + 1)) - kept
        await run.judge()


async def test_two_order_writers_share_the_topic_and_each_dies_in_turn(kafka_up: Up) -> None:
    async with trial(kafka_up) as run:
        async with run.load.running():
            async with extra(kafka_up, "order-writer") as other:
                await run.under_way()
                await run.kill_and_wait("order_writer")
                await run.goes_on(served=30, fresh=8)
                other.kill()
                await run.goes_on(served=30, fresh=8)
            async with run.stopped("gateway", "reconciler"):
                await run.drained()
        unserved = [a for a in run.history.of("reserve") if a.status >= 500]
        assert unserved == []
        await run.judge()


async def _many_records(up: Up, run: Trial) -> list[Record]:
    records = await read_sale(up, run.sale_id)
    return records if len(records) > 60 else []
