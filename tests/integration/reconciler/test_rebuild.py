"""Rebuilding from the ledger, read and sent in pieces of any size, gives back what was there."""

import msgspec
import pytest

from config.settings import Settings
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import read_run_id
from gateway.process.postgres import create_pool
from reconciler.comparing.ledger_records import token_of
from reconciler.rebuilding import rebuild as rebuilding
from reconciler.rebuilding.rebuild import Rebuild, rebuild
from tests.support.sales.judged_sale import JudgedSale
from tests.support.sales.partitions import BOUNDS


async def _kept(sale: JudgedSale) -> dict[str, object]:
    """What outlives a rebuild, unpacked; a buyer's holds in any order."""
    kept: dict[str, object] = {}
    for name in ("reservations", "buyers"):
        fields = await sale.redis.hgetall(sale.key(name))
        kept[name] = {
            key: sorted(map(str, _unpacked(value))) for key, value in fields.items() if key
        }
    kept["stock"] = await sale.redis.hgetall(sale.key("stock"))
    kept["deadlines"] = await sale.redis.zrange(sale.key("deadlines"), 0, -1, withscores=True)
    return kept


def _unpacked(value: bytes | str) -> list[object]:
    assert isinstance(value, bytes)
    return msgspec.msgpack.decode(value, type=list[object])


@pytest.mark.parametrize(("page_rows", "chunk_records"), [(1, 1), (2, 3), (3, 2), (2000, 500)])
async def test_pieces_of_any_size_make_the_same_partition(
    judged_sale: JudgedSale,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    page_rows: int,
    chunk_records: int,
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE_ROWS", page_rows)
    monkeypatch.setattr(rebuilding, "CHUNK_RECORDS", chunk_records)
    before = await _kept(judged_sale)
    shift_ms = int(await judged_sale.redis.hget(judged_sale.key("meta"), "shift") or 0)
    assert shift_ms == 0
    await judged_sale.redis.flushall()
    pool = await create_pool(settings.postgres, size=1)
    run_id = await read_run_id(judged_sale.redis)
    plan = Rebuild(judged_sale.partition, run_id, 2, Position(1, 99), 0)
    try:
        count = await rebuild(pool, judged_sale.store, BOUNDS, plan)
    finally:
        await pool.close()
    after = await _kept(judged_sale)
    assert after == before
    assert count == len(await judged_sale.redis.hgetall(judged_sale.key("reservations"))) - 1


def test_a_row_of_another_partition_is_not_rebuilt() -> None:
    assert token_of(PartitionId("sale", 0), "sale.0.token") == "token"
    with pytest.raises(Recovering, match="no reservation of"):
        token_of(PartitionId("sale", 0), "sale.1.token")
