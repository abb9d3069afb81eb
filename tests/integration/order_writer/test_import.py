"""A ledger that came back older, with an outbox that no longer has what is missing: an import."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from config.settings import Settings
from gateway.api.ledger.queries import QUERIES as API
from gateway.api.sales.accounting import store_accounting
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, outbox_key
from gateway.inventory.redis.outbox import read_run_id, stream_id
from order_writer.importing import importing
from order_writer.importing.errors import ImportRefused
from order_writer.importing.events import Events
from order_writer.importing.importing import import_partition
from order_writer.importing.reading import scan_records
from reconciler.comparing.compare import compare_partition
from reconciler.rebuilding.repair import Repair, RepairOrder
from tests.support.sales.imports import PATIENT, ImportedSale, imported_sale
from tests.support.sales.judged_sale import JudgedSale
from tests.support.sales.older_ledger import back_up
from tests.support.sales.partitions import token_of
from tests.support.sales.random_history import RandomHistory
from tests.support.waiting import WAIT_SECONDS


@pytest_asyncio.fixture
async def rig(settings: Settings, judged_sale: JudgedSale) -> AsyncIterator[ImportedSale]:
    async with imported_sale(settings, judged_sale) as sale:
        yield sale


# Seeds that are always the same, and one that is new every time. A test's name does not have the
# new seed, since all processes of a run must collect the same names.
SEEDS = (1, 2, 3, 4, None)


def seeded(seed: int | None) -> int:
    """The seed of a test, which a failure shows; the one asked for goes first."""
    asked = os.environ.get("DROPGATE_TEST_SEED")
    chosen = int(asked) if asked else seed or secrets.randbits(20)
    print(f"DROPGATE_TEST_SEED={chosen}")
    return chosen


def sell_while_scanned(history: RandomHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sale goes on while its records are read, half a page at a time; some come twice."""

    async def scan(reader: Redis, partition: PartitionId) -> AsyncIterator[dict[str, bytes]]:
        async for page in scan_records(reader, partition):
            tokens = list(page)
            half = len(tokens) // 2
            for part in (tokens[:half], tokens[half:]):
                await history.steps(30)
                yield {token: page[token] for token in part}
        async for page in scan_records(reader, partition):
            yield dict(list(page.items())[::3])
        await history.steps(30)

    monkeypatch.setattr(importing, "scan_records", scan)


def _unpacked(value: bytes | str) -> list[object]:
    assert isinstance(value, bytes)
    return msgspec.msgpack.decode(value, type=list[object])


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
    meta = await sale.redis.hgetall(sale.key("meta"))
    kept["adjustments"] = _unpacked(meta[b"adjustments"])
    kept["items"] = {key: value for key, value in meta.items() if "item:" in str(key)}
    return kept


@pytest.mark.parametrize(("epochs", "kept_epochs"), [(0, 0), (2, 0), (0, 2), (1, 1)])
@pytest.mark.parametrize("seed", SEEDS)
async def test_an_import_and_what_follows_leave_no_difference(
    rig: ImportedSale,
    monkeypatch: pytest.MonkeyPatch,
    seed: int | None,
    epochs: int,
    kept_epochs: int,
) -> None:
    history, lost = await rig.history(seeded(seed), epochs=epochs, kept_epochs=kept_epochs)
    assert lost
    sell_while_scanned(history, monkeypatch)
    imported = await rig.imported()
    assert imported.missing.last == lost[-1].position
    assert imported.reservations
    assert await rig.position() == imported.until
    assert await rig.differences() == ()
    # What turns up of the missing events after all changes nothing, nor do repeats of the others.
    await rig.apply(lost)
    await rig.apply(await rig.entries())
    await history.steps(30)
    await rig.apply()
    assert await rig.differences() == ()


@pytest.mark.parametrize("folded", [True, False])
async def test_events_that_a_record_lacks_are_folded_over_it(
    rig: ImportedSale, monkeypatch: pytest.MonkeyPatch, *, folded: bool
) -> None:
    """And the control: without them there is a difference."""
    await rig.history(1)
    sale = rig.sale

    async def scan(reader: Redis, partition: PartitionId) -> AsyncIterator[dict[str, bytes]]:
        async for page in scan_records(reader, partition):
            yield page
        await sale.store.confirm(partition, token_of("holder"), "pay-late")

    async def nothing(_self: Events, _items: object) -> None:
        return None

    monkeypatch.setattr(importing, "scan_records", scan)
    if not folded:
        monkeypatch.setattr(Events, "fold_over_records", nothing)
    await rig.imported()
    found = {difference.reservation_id for difference in await rig.differences()}
    assert found == (set() if folded else {sale.id_of("holder")})


@pytest.mark.parametrize("seed", SEEDS)
async def test_redis_is_rebuilt_from_a_ledger_that_was_imported(
    rig: ImportedSale, seed: int | None
) -> None:
    history, _ = await rig.history(seeded(seed))
    await rig.imported()
    await history.steps(20)
    await rig.apply()
    before = await _kept(rig.sale)
    await rig.rebuild()
    assert await _kept(rig.sale) == before


async def test_a_ledger_older_than_a_rebuild_of_redis_is_imported(rig: ImportedSale) -> None:
    """The outbox begins with the epoch of the rebuild; all before it is missing."""
    history = RandomHistory(rig.sale, 1)
    await back_up(rig.sale.ledger)
    await history.steps(40)
    await rig.rebuild()
    await history.steps(20)
    await rig.lose()
    imported = await rig.imported()
    assert (imported.missing.last.epoch, imported.until.epoch) == (1, 2)
    assert await rig.differences() == ()
    await history.steps(20)
    await rig.apply()
    assert await rig.differences() == ()


async def test_what_redis_loses_of_an_imported_reservation_is_repaired_from_the_ledger(
    rig: ImportedSale,
) -> None:
    """Every record, one after the other, with the keys of its calls."""
    await rig.history(1)
    await rig.imported()
    records = rig.sale.key("reservations")
    before = {token: raw for token, raw in (await rig.sale.redis.hgetall(records)).items() if token}
    order = RepairOrder(reconciliation_id=7, actor="ops", ledger_wait_seconds=WAIT_SECONDS)
    await rig.sale.redis.hdel(records, *before)
    comparison = await compare_partition(rig.context, rig.sale.partition, PATIENT)
    repair = Repair(rig.context, comparison, order)
    await repair.apply(dict(enumerate(comparison.differences, start=1)))
    for token, raw in before.items():
        now = await rig.sale.redis.hget(records, token)
        assert now is not None
        assert _unpacked(now) == _unpacked(raw)


async def test_repeats_of_calls_that_only_an_import_knows_are_known(rig: ImportedSale) -> None:
    """As the gateway asks after the settlement, when the ledger alone answers."""
    await rig.history(1)
    await rig.imported()
    sale_id, asked = rig.sale.sale_id, 0
    for row in await rig.sale.ledger.fetch("SELECT * FROM imported_reservations"):
        for query, kept in (("return_by_key", "return_keys"), ("extension_by_key", "extend_keys")):
            for key, _, of_call in (each.partition(":") for each in row[kept]):
                arguments = (sale_id, 0, row["reservation_id"], key)
                assert await rig.sale.ledger.fetchval(API[query], *arguments) == of_call
                asked += 1
    assert asked


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_imports_follow_each_other(rig: ImportedSale, seed: int | None) -> None:
    """A second backup is put back, taken after the first import; a third, taken before it."""
    history, _ = await rig.history(seeded(seed))
    await rig.imported()
    for _ in range(2):
        await history.steps(20)
        await rig.apply()
        await rig.trim()
        await history.steps(20)
        await rig.lose()
        await rig.imported()
        assert await rig.differences() == ()


async def test_nothing_is_imported_where_the_outbox_has_all_that_is_missing(
    rig: ImportedSale,
) -> None:
    await back_up(rig.sale.ledger)
    await RandomHistory(rig.sale, 1).steps(20)
    await rig.lose()
    assert await import_partition(rig.sources, rig.sale.partition) is None
    assert await rig.sale.ledger.fetchval("SELECT count(*) FROM ledger_imports") == 0


async def test_nothing_is_imported_where_the_ledger_goes_on(rig: ImportedSale) -> None:
    await rig.history(1)
    await rig.sale.ledger.execute("UPDATE watermarks SET stopped_reason = 'forked: otherwise'")
    assert await import_partition(rig.sources, rig.sale.partition) is None
    await rig.sale.ledger.execute("UPDATE watermarks SET stopped_reason = NULL")
    assert await import_partition(rig.sources, rig.sale.partition) is None


async def test_an_import_that_is_cut_short_leaves_no_trace_and_begins_again(
    rig: ImportedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.history(1)
    counts = (
        "SELECT (SELECT count(*) FROM reservations), (SELECT count(*) FROM ledger_events), "
        "(SELECT count(*) FROM ledger_imports), (SELECT sum(sold) FROM stock_accounts), "
        "(SELECT stopped_reason FROM watermarks)"
    )
    before = await rig.sale.ledger.fetchrow(counts)

    async def cut(*_: object) -> None:
        raise ConnectionResetError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(importing._Import, "_go_on", cut)
        with pytest.raises(ConnectionResetError):
            await rig.imported()
    assert await rig.sale.ledger.fetchrow(counts) == before
    await rig.imported()
    assert await rig.differences() == ()


async def test_two_at_once_import_once(rig: ImportedSale) -> None:
    await rig.history(1)
    both = (import_partition(rig.sources, rig.sale.partition) for _ in range(2))
    done = [each for each in await asyncio.gather(*both) if each is not None]
    assert len(done) == 1
    assert await rig.differences() == ()


async def test_an_event_nobody_can_read_is_imported_like_a_missing_one(rig: ImportedSale) -> None:
    await rig.history(1)
    outbox = outbox_key(rig.sale.partition)
    entries = await rig.entries()
    damaged = entries[len(entries) // 2].position
    await rig.sale.redis.delete(outbox)
    for entry in entries:
        raw = b"{" if entry.position == damaged else entry.raw
        await rig.sale.redis.xadd(outbox, {"event": raw}, id=stream_id(entry.position))
    assert (await rig.imported()).missing.last == damaged
    assert await rig.differences() == ()
    await rig.apply(entries)
    assert await rig.differences() == ()


async def test_a_ledger_of_the_opening_is_imported_whole(rig: ImportedSale) -> None:
    """The backup is of the moment at which the sale was opened: nothing was applied yet."""
    await rig.history(1)
    await rig.forget_everything()
    assert (await rig.imported()).missing.after == Position(1, 0)
    assert await rig.differences() == ()


async def test_a_letter_that_was_set_aside_is_dismissed_because_its_effect_came_along(
    rig: ImportedSale,
) -> None:
    ledger = rig.sale.ledger
    await ledger.execute(
        "INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reason, error, "
        "raw) VALUES ('one', $1, 0, 1, 3, 'refused', 'why', '')", rig.sale.sale_id,
    )  # fmt: skip
    await rig.history(1)
    await rig.imported()
    letter = await ledger.fetchrow("SELECT status, error FROM dead_letters")
    assert letter is not None
    assert tuple(letter) == ("dismissed", "its effect was imported: why")


async def test_the_states_of_the_sale_and_its_items_come_along(rig: ImportedSale) -> None:
    sale, item = rig.sale, 2
    await back_up(sale.ledger)
    await sale.store.set_state(sale.partition, "paused", item)
    await sale.store.set_state(sale.partition, "paused")
    await rig.apply()
    await rig.trim()
    await sale.store.adjust(sale.partition, 1, 5, "more", "ops")
    await rig.lose()
    await rig.imported()
    assert await sale.ledger.fetchval("SELECT state FROM sales") == "paused"
    paused = await sale.ledger.fetch("SELECT sku FROM sale_items WHERE paused")
    assert [row["sku"] for row in paused] == ["cap"]


async def _refused(rig: ImportedSale, why: str) -> None:
    with pytest.raises(ImportRefused, match=why):
        await rig.imported()
    assert await rig.sale.ledger.fetchval("SELECT stopped_reason FROM watermarks") is not None
    assert await rig.sale.ledger.fetchval("SELECT count(*) FROM ledger_imports") == 0


async def test_a_ledger_with_a_later_event_of_a_reservation_is_refused(rig: ImportedSale) -> None:
    await rig.history(1)
    await rig.sale.ledger.execute(
        "UPDATE reservations SET last_sequence = 999999 WHERE reservation_id = $1",
        rig.sale.id_of("payer"),
    )
    await _refused(rig, "later events of .*")


async def test_an_epoch_that_ended_elsewhere_is_refused(rig: ImportedSale) -> None:
    await rig.history(1, epochs=1)
    await rig.sale.ledger.execute(
        "INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, next_epoch) "
        "VALUES ($1, 0, 1, 5, 2)", rig.sale.sale_id,
    )  # fmt: skip
    await _refused(rig, "epoch 1 ended elsewhere")


async def test_a_ledger_beyond_the_end_of_its_epoch_is_refused(rig: ImportedSale) -> None:
    await rig.history(1, epochs=1)
    await rig.sale.ledger.execute("UPDATE watermarks SET sequence = 9999")
    await _refused(rig, "which Redis has not reached")


async def test_an_outbox_with_a_hole_is_refused(rig: ImportedSale) -> None:
    await rig.history(1)
    entries = await rig.entries()
    hole = entries[len(entries) // 2].position
    await rig.sale.redis.xdel(outbox_key(rig.sale.partition), stream_id(hole))
    await _refused(rig, "the outbox has a hole")


async def test_what_makes_the_records_outdated_is_waited_out(
    rig: ImportedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition goes on under the next epoch while it is read: the import begins again."""
    await rig.history(1)
    last = (await rig.entries())[-1].position

    async def scan(reader: Redis, partition: PartitionId) -> AsyncIterator[dict[str, bytes]]:
        async for page in scan_records(reader, partition):
            yield page
        outcome = await rig.sale.store.recover(
            partition, last.epoch + 1, last, 0, at_run=await read_run_id(reader)
        )
        assert outcome == "recovered"

    with monkeypatch.context() as patch:
        patch.setattr(importing, "scan_records", scan)
        with pytest.raises(Recovering, match="while it was read"):
            await rig.imported()
    await rig.imported()
    assert await rig.differences() == ()


async def test_the_books_of_an_imported_sale_close(rig: ImportedSale) -> None:
    """What only the import knows is in the accounting, under a reason of its own."""
    sale = rig.sale
    await rig.history(1)
    await rig.imported()
    for row in await sale.ledger.fetch("SELECT reservation_id FROM reservations"):
        token = row["reservation_id"].rpartition(".")[2]
        await sale.store.cancel(sale.partition, token, "ops")
    await rig.apply()
    async with rig.context.ledger.acquire() as connection, connection.transaction():
        accounting = await store_accounting(connection, sale.sale_id, "ops")
    reasons = {each.reason for line in accounting.lines for each in line.adjustments}
    assert "(imported)" in reasons
