"""The keys of extensions: compared, rebuilt and repaired from the ledger's events."""

import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.redis.outbox import read_run_id
from gateway.inventory.store import ReservationStore
from gateway.process.postgres import create_pool
from reconciler.comparing.compare import CompareConfig, compare_partition
from reconciler.context import open_context
from reconciler.rebuilding import rebuild as rebuilding
from reconciler.rebuilding.rebuild import Rebuild, rebuild
from reconciler.rebuilding.repair import Repair, RepairOrder
from tests.support.sales.judged_sale import SHIRT, JudgedSale
from tests.support.sales.partitions import BOUNDS, ONE_UNIT, token_of
from tests.support.sales.pipeline import pipeline
from tests.support.waiting import WAIT_SECONDS

CONFIG = CompareConfig(page_records=50)
ORDER = RepairOrder(reconciliation_id=7, actor="ops", ledger_wait_seconds=WAIT_SECONDS)


async def _extended(sale: JudgedSale, buyer: str, *keys: str) -> None:
    for number, key in enumerate(keys, start=1):
        milliseconds = 1000 * number
        token = token_of(buyer)
        reply = await sale.store.extend(sale.partition, token, milliseconds, token_of(key))
        assert reply.outcome == "extended"


@pytest_asyncio.fixture
async def extended_sale(judged_sale: JudgedSale) -> JudgedSale:
    """A hold, and a reservation in each later state, that were extended with keys."""
    sale = judged_sale
    for buyer in ("ada", "bob", "cleo"):
        await sale.reserve(buyer, SHIRT, 0, 1)
    await _extended(sale, "holder", "k1", "k2")
    await _extended(sale, "ada", "k1")
    await sale.store.confirm(sale.partition, token_of("ada"), "pay-ada")
    await _extended(sale, "bob", "k1")
    await sale.store.cancel(sale.partition, token_of("bob"), "bob")
    await _extended(sale, "cleo", "k1")
    await sale.store.confirm(sale.partition, token_of("cleo"), "pay-cleo")
    await sale.store.return_units(
        sale.partition, token_of("cleo"), token_of("back"), ONE_UNIT, restock=True, reason="size",
        fingerprint="f",
    )  # fmt: skip
    await sale.apply()
    return sale


async def _records(sale: JudgedSale) -> dict[bytes | str, bytes | str]:
    return dict(await sale.redis.hgetall(sale.key("reservations")))


async def _repeated(store: ReservationStore, sale: JudgedSale, buyer: str) -> list[str]:
    """Outcomes of a repeat of the first call, and of another call under its key."""
    return [
        (await store.extend(sale.partition, token_of(buyer), asked, token_of("k1"))).outcome
        for asked in (1000, 9000)
    ]


async def test_what_was_extended_with_keys_is_no_difference(
    extended_sale: JudgedSale, settings: Settings
) -> None:
    async with open_context(settings) as context:
        comparison = await compare_partition(context, extended_sale.partition, CONFIG)
    assert comparison.differences == ()


async def test_the_verdict_holds(extended_sale: JudgedSale, settings: Settings) -> None:
    async with pipeline(settings):
        verdict = await extended_sale.verdict(drain_timeout_seconds=WAIT_SECONDS)
    assert verdict.holds, verdict


@pytest.mark.parametrize("page_rows", [1, 3, 2000])
async def test_a_rebuild_brings_the_keys_back(
    extended_sale: JudgedSale,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    page_rows: int,
) -> None:
    sale = extended_sale
    monkeypatch.setattr(rebuilding, "PAGE_ROWS", page_rows)
    before = await _records(sale)
    await sale.redis.flushall()
    plan = Rebuild(sale.partition, await read_run_id(sale.redis), 2, Position(1, 99), 0)
    pool = await create_pool(settings.postgres, size=1)
    try:
        await rebuild(pool, sale.store, BOUNDS, plan)
    finally:
        await pool.close()
    assert await _records(sale) == before
    for buyer in ("holder", "ada", "bob", "cleo"):
        assert await _repeated(sale.store, sale, buyer) == ["replayed", "key_reused"], buyer


@pytest.mark.parametrize("buyer", ["holder", "ada", "bob", "cleo"])
async def test_a_repair_brings_the_keys_back(
    extended_sale: JudgedSale, settings: Settings, buyer: str
) -> None:
    sale = extended_sale
    before = await _records(sale)
    await sale.redis.hdel(sale.key("reservations"), token_of(buyer))
    async with open_context(settings) as context:
        comparison = await compare_partition(context, sale.partition, CONFIG)
        found = dict(enumerate(comparison.differences, start=1))
        repair = Repair(context, comparison, ORDER)
        await repair.apply(found)
    assert found
    assert repair.repaired == found.keys()
    assert await _records(sale) == before
    assert await _repeated(sale.store, sale, buyer) == ["replayed", "key_reused"]
