"""A ledger that comes back older than Redis gets from Kafka what the outbox has dropped."""

import pytest

from gateway.inventory.keys import outbox_key
from gateway.relay.service import run as run_relay
from order_writer.service import run as run_order_writer
from reconciler.service import run as run_reconciler
from tests.support.sales.pipeline import running
from tests.support.sales.shop import Shop
from tests.support.waiting import wait_until


@pytest.mark.parametrize("epochs", [0, 1, 2])
async def test_what_the_outbox_has_dropped_is_applied_again(kafka_shop: Shop, epochs: int) -> None:
    shop = kafka_shop
    async with shop.processes():
        buyers = await shop.buy(0, 20)
        await shop.in_ledger()
        await shop.backup.take()
        for epoch in range(epochs):
            buyers += await shop.buy(100 * epoch + 100, 10)
            await shop.in_ledger()
            await shop.lose_buyers()
        buyers += await shop.buy(1000, 10)
        await shop.reported()
        closed = await shop.closed_epochs()
        await shop.redis.xtrim(outbox_key(shop.partition), maxlen=1)
        await shop.backup.restore()
        buyers += await shop.buy(2000, 5)
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.closed_epochs() == closed
        assert await shop.balanced()


async def test_what_kafka_lacks_is_applied_from_the_outbox(kafka_shop: Shop) -> None:
    """No relay runs: the topic has nothing."""
    shop = kafka_shop
    settings = shop.settings
    async with running(run_order_writer, settings), running(run_reconciler, settings):
        buyers = await shop.buy(0, 20)
        await shop.in_ledger()
        await shop.backup.take()
        buyers += await shop.buy(100, 10)
        await shop.reported()
        await shop.backup.restore()
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.balanced()


async def test_a_partition_that_is_lost_too_is_rebuilt_from_all_that_kafka_has(
    kafka_shop: Shop,
) -> None:
    """The ledger is older, and Redis has no event that would show a gap: only offsets tell."""
    shop = kafka_shop
    settings = shop.settings
    async with running(run_reconciler, settings):
        async with running(run_order_writer, settings), running(run_relay, settings):
            buyers = await shop.buy(0, 20)
            await shop.in_ledger()
            await shop.backup.take()
            buyers += await shop.buy(100, 10)
            await shop.reported()
        await shop.backup.restore()
        await shop.redis.flushall()
        async with running(run_order_writer, settings), running(run_relay, settings):

            async def rebuilt() -> bool:
                (row,) = await shop.fetch("SELECT epoch, stopped_reason FROM watermarks")
                assert row["stopped_reason"] is None
                return bool(row["epoch"] > 1)

            await wait_until(rebuilt)
            assert await shop.buyers_in_ledger() == sorted(buyers)
            assert await shop.balanced()
