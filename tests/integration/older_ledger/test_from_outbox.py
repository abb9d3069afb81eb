"""A ledger that comes back older than Redis gets what it lacks from the outbox."""

from contextlib import suppress

import pytest

from gateway.inventory.errors import Recovering
from gateway.inventory.keys import outbox_key, partition_keys
from order_writer.service import run as run_order_writer
from reconciler.by_hand import run_once
from reconciler.context import open_context
from reconciler.duties.directory import Directory
from reconciler.duties.sights import Sights
from reconciler.duties.trim import Trim, TrimConfig
from reconciler.duties.window import Window, WindowConfig
from reconciler.service import run as run_reconciler
from tests.support.api import serving
from tests.support.sales.pipeline import running
from tests.support.sales.shop import Shop
from tests.support.waiting import wait_until


@pytest.mark.parametrize("epochs", [0, 1, 2])
async def test_what_a_restored_ledger_lacks_is_applied_again(shop: Shop, epochs: int) -> None:
    async with shop.processes():
        buyers = await shop.buy(0, 20)
        await shop.in_ledger()
        await shop.backup.take()
        for epoch in range(epochs):
            buyers += await shop.buy(100 * epoch + 100, 10)
            await shop.in_ledger()
            await shop.restart_redis()
        buyers += await shop.buy(1000, 10)
        await shop.reported()
        closed = await shop.closed_epochs()
        await shop.backup.restore()
        buyers += await shop.buy(2000, 5)
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.closed_epochs() == closed
        assert await shop.balanced()
    noted = await shop.fetch(
        "SELECT actor, detail ->> 'partition' AS partition FROM audit_log "
        "WHERE action = 'ledger_older'"
    )
    assert {tuple(row) for row in noted} == {("order_writer", "0")}


async def test_nothing_is_trimmed_while_the_ledger_is_older(shop: Shop) -> None:
    """The sale sells on meanwhile, and an order writer that starts late finds all of it."""
    async with shop.processes():
        buyers = await shop.buy(0, 5)
        await shop.in_ledger()
        await shop.backup.take()
        buyers += await shop.buy(100, 5)
        await shop.in_ledger()
        await shop.restart_redis()
        buyers += await shop.buy(200, 5)
        await shop.reported()
    await shop.backup.restore()
    buyers += await shop.buy(300, 5)
    events = await shop.redis.xlen(outbox_key(shop.partition))
    async with open_context(shop.settings) as context:
        directory = Directory(context.ledger)
        await Trim(context, directory, TrimConfig(keep_seconds=0.0)).run_once()
    assert await shop.redis.xlen(outbox_key(shop.partition)) == events
    async with running(run_order_writer, shop.settings):
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.balanced()


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("close", "closed")])
async def test_a_sale_keeps_the_state_that_the_ledger_has_forgotten(
    shop: Shop, verb: str, state: str
) -> None:
    """By itself, an older ledger would let a sale go on that was paused since."""
    sale = shop.partition.sale_id
    async with shop.processes(), serving(shop.settings) as api:
        await shop.in_ledger()
        await shop.backup.take()
        assert (await api.ops("POST", f"/v1/sales/{sale}/{verb}")).status == 200
        await shop.reported()
    await shop.backup.restore()
    async with open_context(shop.settings) as context:
        sights = Sights(context.store, Directory(context.ledger))
        window = Window(context, sights, WindowConfig(patience_seconds=0.0))
        await window.run_once()
        assert (await shop.store.snapshot(shop.partition)).state == state
        async with running(run_order_writer, shop.settings):
            await shop.in_ledger()
        sights.outdate()
        await window.run_once()
    assert (await shop.store.snapshot(shop.partition)).state == state
    (row,) = await shop.fetch("SELECT state FROM sales")
    assert row["state"] == state
    (noted,) = await shop.fetch(
        "SELECT detail ->> 'state' AS state FROM audit_log WHERE action = 'ledger_older'"
    )
    assert noted["state"] == state


async def test_a_sale_that_was_opened_since_goes_on_once_it_is_opened_again(
    draft_shop: Shop,
) -> None:
    """The ledger has it as a draft; Redis has the partition, which is not loaded anew."""
    shop = draft_shop
    async with shop.processes():
        await shop.backup.take()
        await shop.open()
        buyers = await shop.buy(0, 5)
        await shop.in_ledger()
        await shop.restart_redis()
        await shop.reported()
        await shop.backup.restore()
        assert await shop.fetch("SELECT FROM watermarks") == []
        with suppress(Recovering):  # the partition is in a later epoch: the reconciler carries on
            await shop.open()
        buyers += await shop.buy(100, 5)
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.balanced()


async def test_what_is_nowhere_comes_from_redis_own_records(shop: Shop) -> None:
    """The partition's ledger stops at the gap, which the order writer then closes by an import."""
    async with shop.processes():
        buyers = await shop.buy(0, 5)
        await shop.in_ledger()
        await shop.backup.take()
        buyers += await shop.buy(100, 5)
        await shop.reported()
        await shop.redis.xtrim(outbox_key(shop.partition), maxlen=1)
        await shop.backup.restore()

        async def imported() -> bool:
            return bool(await shop.fetch("SELECT FROM ledger_imports"))

        await wait_until(imported)
        buyers += await shop.buy(200, 1)
        await shop.in_ledger()
        assert await shop.buyers_in_ledger() == sorted(buyers)
        assert await shop.balanced()


async def test_a_partition_is_not_rebuilt_from_a_ledger_that_lacks_what_it_had(shop: Shop) -> None:
    """The outbox was lost, too: the partition's records are all that is left of the orders."""
    sale, reservations = shop.partition.sale_id, partition_keys(shop.partition)[2]
    async with shop.processes():
        await shop.buy(0, 5)
        await shop.in_ledger()
        await shop.backup.take()
        await shop.buy(100, 5)
        await shop.reported()
    await shop.backup.restore()
    await shop.redis.delete(outbox_key(shop.partition))
    outcome = await run_once(shop.settings, "recover", sale)
    assert outcome == f"{shop.partition}: stays closed: {shop.partition}: ledger_older"
    assert await shop.redis.hlen(reservations) == 1 + 10


async def test_a_sale_is_not_settled_by_an_older_ledger(shop: Shop) -> None:
    sale = shop.partition.sale_id
    async with serving(shop.settings) as api, running(run_reconciler, shop.settings):
        async with running(run_order_writer, shop.settings):
            held = await api.held(sale, "ann", ("sku", 1))
            assert (await api.ops("POST", f"/v1/sales/{sale}/close")).status == 200
            await shop.in_ledger()
            await shop.backup.take()
            await api.buyer("ann", "POST", f"/v1/reservations/{held}/cancel")
            await shop.reported()
        await shop.backup.restore()
        early = await api.ops("POST", f"/v1/sales/{sale}/settle")
        assert (early.told, early.body["reason"]) == ((409, "invalid_state"), "behind")
        async with running(run_order_writer, shop.settings):
            await shop.in_ledger()
            assert (await api.ops("POST", f"/v1/sales/{sale}/settle")).status == 200
        (accounted,) = await shop.fetch("SELECT sum(unsold) AS unsold FROM settlement_lines")
    assert accounted["unsold"] == 1000
