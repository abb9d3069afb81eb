"""The exact comparison: balanced under load, and every kind of drift named with its reservation."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.types import NO_LINES_ASKED
from reconciler.comparing.catching_up import LedgerBehind
from reconciler.comparing.compare import CompareConfig, compare_partition
from reconciler.comparing.differences import Difference
from reconciler.comparing.paging import Scope
from reconciler.comparing.reading import UNPAID, UNPAID_WINDOW
from reconciler.comparing.whole import suspects_of_partition
from reconciler.context import Context, open_context
from tests.support.sales.judged_sale import JudgedSale, admitted
from tests.support.sales.partitions import FINGERPRINT, ONE_UNIT, token_of
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS

PATIENT = CompareConfig(page_records=2)
HASTY = CompareConfig(ledger_wait_seconds=0.2)
Found = list[tuple[str, str | None, str | None, str | None]]


@pytest.fixture
def sale_id() -> str:
    return unique("compare")


@pytest_asyncio.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    async with open_context(settings) as opened:
        yield opened


async def differences(
    context: Context, sale: JudgedSale, config: CompareConfig = PATIENT
) -> tuple[Difference, ...]:
    return (await compare_partition(context, sale.partition, config)).differences


def told(found: tuple[Difference, ...]) -> Found:
    return [(d.kind.value, d.field, d.redis_value, d.ledger_value) for d in found]


async def test_a_whole_sale_is_balanced_at_its_last_number(
    context: Context, judged_sale: JudgedSale
) -> None:
    comparison = await compare_partition(context, judged_sale.partition, PATIENT)
    snapshot = await judged_sale.store.snapshot(judged_sale.partition)
    assert comparison.differences == ()
    assert comparison.position.sequence == snapshot.sequence


async def test_a_ledger_that_is_further_is_folded_back(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every edge happens, and is applied, between the snapshot and the reading of the ledger."""
    store, partition = judged_sale.store, judged_sale.partition
    taken = await store.snapshot(partition)
    await judged_sale.reserve("late", 1, 0, 2)
    await store.confirm(partition, token_of("late"), "pay-late", ONE_UNIT)
    await store.return_units(
        partition, token_of("late"), token_of("late", "r"), NO_LINES_ASKED, restock=False,
        reason="torn", fingerprint=FINGERPRINT,
    )  # fmt: skip
    await store.return_units(
        partition, token_of("payer"), token_of("late", "p"), NO_LINES_ASKED, restock=True,
        reason="undone", fingerprint=FINGERPRINT,
    )  # fmt: skip
    await judged_sale.reserve("later", 2, 0, 1)
    await store.cancel(partition, token_of("later"), "later")
    await judged_sale.reserve("lapsing", 1, 0, 1, hold_milliseconds=1)
    while (await store.expire(partition, 10)).expired == 0:
        pass
    await store.adjust(partition, 1, 7, "more", "ops")
    await judged_sale.apply()

    async def earlier(_: object) -> object:
        return taken

    monkeypatch.setattr(context.store, "snapshot", earlier)
    comparison = await compare_partition(context, partition, PATIENT)
    assert comparison.position.sequence == taken.sequence
    assert told(comparison.differences) == []


async def test_a_ledger_that_does_not_come_is_behind_and_not_unbalanced(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.reserve("late", 1, 0, 1)
    with pytest.raises(LedgerBehind):
        await compare_partition(context, judged_sale.partition, HASTY)


async def test_a_partition_of_another_server_run_is_recovering(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.redis.hset(judged_sale.key("meta"), "run_id", "f" * 40)
    with pytest.raises(Recovering):
        await compare_partition(context, judged_sale.partition, PATIENT)


async def test_a_counter_moved_behind_the_scripts_back_is_named(
    context: Context, judged_sale: JudgedSale
) -> None:
    key = judged_sale.key("stock")
    before = int(await judged_sale.redis.hget(key, "shirt:default:available") or 0)
    await judged_sale.redis.hincrby(key, "shirt:default:available", 1)
    (found,) = await differences(context, judged_sale)
    assert (found.kind, found.sku, found.location) == ("counter", "shirt", "default")
    assert (found.field, found.redis_value, found.ledger_value) == (
        "available", str(before + 1), str(before),
    )  # fmt: skip


async def test_a_lost_hold_is_missing(context: Context, judged_sale: JudgedSale) -> None:
    await judged_sale.redis.hdel(judged_sale.key("reservations"), token_of("holder"))
    found = await differences(context, judged_sale)
    assert [d.kind for d in found] == ["counter", "hold_missing"]
    assert found[0].field == "reservations"
    assert (found[1].reservation_id, found[1].buyer_id) == (judged_sale.id_of("holder"), "holder")


async def test_a_record_the_ledger_never_had_is_leaked(
    context: Context, judged_sale: JudgedSale
) -> None:
    key = judged_sale.key("reservations")
    copied = await judged_sale.redis.hget(key, token_of("canceller"))
    assert copied
    await judged_sale.redis.hset(key, token_of("ghost"), copied)
    found = await differences(context, judged_sale)
    assert [d.kind for d in found] == ["counter", "hold_leaked"]
    assert found[1].reservation_id == judged_sale.id_of("ghost")


async def test_a_hold_without_a_deadline_is_leaked(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.redis.zrem(judged_sale.key("deadlines"), token_of("holder"))
    (found,) = await differences(context, judged_sale)
    assert (found.kind, found.field, found.redis_value) == ("hold_leaked", "deadline_index", None)


@pytest.mark.parametrize(
    ("buyer", "state", "kind"),
    [
        ("payer", 1, "hold_leaked"),
        ("canceller", 4, "resolved_twice"),
        ("holder", 4, "unapplied"),
    ],
)
async def test_a_state_that_differs_at_the_same_number_is_named(
    context: Context, judged_sale: JudgedSale, buyer: str, state: int, kind: str
) -> None:
    key = judged_sale.key("reservations")
    raw = await judged_sale.redis.hget(key, token_of(buyer))
    assert isinstance(raw, bytes)
    fields = msgspec.msgpack.decode(raw)
    fields[0] = state
    await judged_sale.redis.hset(key, token_of(buyer), msgspec.msgpack.encode(fields))
    found = [d for d in await differences(context, judged_sale) if d.field == "state"]
    assert [(d.kind, d.buyer_id) for d in found] == [(kind, buyer)]


async def test_units_and_deadlines_of_a_reservation_are_compared(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.execute(
        "UPDATE reservations SET deadline = deadline + interval '1 second', extended_ms = 7 "
        "WHERE buyer_id = 'holder'",
        "ALTER TABLE order_lines DISABLE TRIGGER order_line_immutable",
        "UPDATE order_lines SET returned = 1, confirmed = 1 WHERE reservation_id IN "
        "(SELECT reservation_id FROM reservations WHERE buyer_id = 'partial' AND sale_id = $1)",
    )
    found = await differences(context, judged_sale)
    named = {(d.buyer_id, d.field) for d in found if d.kind == "unapplied"}
    assert named == {
        ("holder", "deadline"), ("holder", "extended_ms"), ("partial", "lines"),
        ("partial", "returned"),
    }  # fmt: skip


async def test_a_buyers_count_that_drifted_is_named(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.redis.hset(judged_sale.key("buyers"), "payer", msgspec.msgpack.encode([1, 4]))
    admission, shirts = await differences(context, judged_sale)
    assert (shirts.kind, shirts.buyer_id, shirts.sku) == ("limit_count", "payer", "shirt")
    assert (shirts.redis_value, shirts.ledger_value) == ("4", "0")
    assert (admission.kind, admission.field, admission.sku) == ("limit_count", "admission", None)
    assert admission.redis_value == "0"


async def test_a_number_of_a_later_release_is_a_difference_to_this_one(
    context: Context, judged_sale: JudgedSale
) -> None:
    # So reconcilers are replaced before the scripts that write such a number.
    buyers = judged_sale.key("buyers")
    packed = await judged_sale.redis.hget(buyers, "payer")
    assert isinstance(packed, bytes)
    known = msgspec.msgpack.decode(packed, type=list[int | str])
    await judged_sale.redis.hset(buyers, "payer", msgspec.msgpack.encode([-9, 5, *known]))
    (found,) = await differences(context, judged_sale)
    assert (found.kind, found.buyer_id, found.redis_value) == ("limit_count", "payer", "5")


async def test_a_partition_of_an_earlier_release_is_expected_to_have_no_windows(
    context: Context, judged_sale: JudgedSale
) -> None:
    meta, buyers = judged_sale.key("meta"), judged_sale.key("buyers")
    for buyer in ("canceller", "lapser"):
        packed = await judged_sale.redis.hget(buyers, buyer)
        assert isinstance(packed, bytes)
        known = msgspec.msgpack.decode(packed, type=list[int | str])
        assert known[::2][:2] == [UNPAID_WINDOW, UNPAID]
        await judged_sale.redis.hset(buyers, buyer, msgspec.msgpack.encode(known[4:]))
    found = await differences(context, judged_sale)
    assert {(d.kind.value, d.field) for d in found} == {
        ("limit_count", "unpaid"), ("limit_count", "unpaid_window"),
    }  # fmt: skip
    packed = await judged_sale.redis.hget(meta, "catalog")
    assert isinstance(packed, bytes)
    *counts, rules = msgspec.msgpack.decode(packed)
    await judged_sale.redis.hset(meta, "catalog", msgspec.msgpack.encode([*counts, rules[:5]]))
    assert await differences(context, judged_sale) == ()


async def test_a_later_comparison_may_look_at_what_has_changed_alone(
    context: Context, judged_sale: JudgedSale
) -> None:
    clean = await compare_partition(context, judged_sale.partition, PATIENT)
    for buyer in ("one", "two", "three"):
        await judged_sale.reserve(buyer, 1, 0, 1)
    await judged_sale.apply()
    for buyer in ("holder", "two"):  # the first has not changed since
        await judged_sale.redis.zrem(judged_sale.key("deadlines"), token_of(buyer))
        await judged_sale.redis.hset(
            judged_sale.key("buyers"), buyer, msgspec.msgpack.encode([1, 9])
        )
    found = await compare_partition(context, judged_sale.partition, PATIENT, since=clean.position)
    assert [(d.kind, d.buyer_id) for d in found.differences] == [
        ("hold_leaked", "two"), ("limit_count", "two"), ("limit_count", "two"),
    ]  # fmt: skip
    whole = await differences(context, judged_sale)
    assert {d.buyer_id for d in whole} == {"holder", "two"}


async def test_who_comes_after_the_number_is_not_looked_at(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Otherwise the comparison would follow a sale that goes on selling without end."""
    taken = await judged_sale.store.snapshot(judged_sale.partition)
    await judged_sale.reserve("late", 1, 0, 1)
    await judged_sale.apply()
    until = Position(taken.epoch, taken.sequence)
    scope = Scope(context, judged_sale.partition, until, page_size=2)
    pages = [page async for page in suspects_of_partition(scope, {1: 1, 2: 2, 3: 2})]
    assert sum(page.seen for page in pages) == taken.reservations
    assert len(pages) > 2
    since = Position(1, 0)
    tokens = [token async for page in scope.changed_reservations(since) for token in page]
    buyers = [buyer async for page in scope.changed_buyers(since) for buyer in page]
    assert token_of("late") not in tokens
    assert "late" not in buyers
    assert len(buyers) > 2


async def test_what_is_equal_is_found_equal_by_its_bytes(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Whatever a script has packed: only what was returned is decoded, for the returns' keys."""
    taken = await judged_sale.store.snapshot(judged_sale.partition)
    until = Position(taken.epoch, taken.sequence)
    for page_size in (1, 2, 1000):
        scope = Scope(context, judged_sale.partition, until, page_size)
        pages = [page async for page in suspects_of_partition(scope, {1: 1, 2: 2, 3: 2})]
        assert [token for page in pages for token in page.tokens] == [token_of("payer")]
        assert [buyer for page in pages for buyer in page.buyers] == []
        assert sum(page.seen for page in pages) == taken.reservations


async def test_an_event_the_ledger_passed_over_is_unapplied(
    context: Context, judged_sale: JudgedSale
) -> None:
    """The watermark says that the event was applied, and it was not."""
    await judged_sale.store.cancel(judged_sale.partition, token_of("holder"), "holder")
    await judged_sale.execute("UPDATE watermarks SET sequence = sequence + 1 WHERE sale_id = $1")
    found = [d for d in await differences(context, judged_sale) if d.kind == "unapplied"]
    assert [(d.buyer_id, d.field) for d in found] == [("holder", "sequence")]


async def test_a_dead_letter_is_reported_with_its_reservation(
    context: Context, judged_sale: JudgedSale
) -> None:
    await judged_sale.execute(
        "INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reservation_id, "
        "reason, error, raw) VALUES ('x', $1, 0, 1, 3, 'some-id', 'refused', 'no', '\\x00')"
    )
    (found,) = await differences(context, judged_sale)
    assert (found.kind, found.field, found.reservation_id) == ("void", "1-3", "some-id")


async def test_comparisons_under_load_find_nothing(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Reserves, cancels and a ledger that follows, all the while."""
    await judged_sale.store.adjust(judged_sale.partition, 1, 100_000, "plenty", "ops")
    stop = asyncio.Event()
    lock = asyncio.Lock()  # the ledger's connection serves one statement at a time

    async def buy(lane: int) -> int:
        bought = 0
        while not stop.is_set():
            buyer = f"buyer-{lane}-{bought}"
            token = token_of(buyer)
            request = admitted(token, buyer, ONE_UNIT)
            (reply,) = await judged_sale.store.reserve(judged_sale.partition, [request])
            assert reply.outcome == "accepted"
            if bought % 2:
                await judged_sale.store.cancel(judged_sale.partition, token, buyer)
            elif bought % 3:
                await judged_sale.store.confirm(judged_sale.partition, token, "paid")
            bought += 1
        return bought

    async def follow() -> None:
        while not stop.is_set():
            async with lock:
                await judged_sale.apply()

    load = [asyncio.create_task(buy(lane)) for lane in range(4)]
    follower = asyncio.create_task(follow())
    config = CompareConfig(page_records=50, ledger_wait_seconds=WAIT_SECONDS)
    try:
        for _ in range(5):
            comparison = await compare_partition(context, judged_sale.partition, config)
            assert told(comparison.differences) == []
    finally:
        stop.set()
    assert sum(await asyncio.gather(*load)) > 0
    await follower
    assert isinstance(judged_sale.ledger, asyncpg.Connection)
