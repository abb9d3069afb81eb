"""`apply`: every kind of drift in Redis is repaired from the ledger, at load, by events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.errors import UnknownOutcome
from gateway.inventory.events import Repair as RepairEvent
from gateway.inventory.events import decode_event
from gateway.inventory.keys import PartitionId
from gateway.inventory.store import RepairReply
from gateway.inventory.types import AskedLines, RepairRequest
from gateway.process.ledger_identity import LedgerIdentity
from order_writer.service import run as run_order_writer
from reconciler.by_hand import reconcile_of
from reconciler.comparing.compare import CompareConfig, compare_partition
from reconciler.comparing.differences import Difference
from reconciler.comparing.reading import ADMISSION, GIVEN_BACK, UNPAID, UNPAID_WINDOW
from reconciler.context import Context, open_context
from reconciler.rebuilding.repair import Repair, RepairOrder
from reconciler.service import run as run_reconciler
from tests.support.sales.judged_sale import SHIRT, JudgedSale, admitted
from tests.support.sales.partitions import FINGERPRINT, ONE_UNIT, token_of
from tests.support.sales.pipeline import pipeline, running
from tests.support.sales.reconciliations import reconciled
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

GARBAGE = b"garbage"
LANES = 2
CONFIG = CompareConfig(page_records=50)
ORDER = RepairOrder(reconciliation_id=7, actor="ops", ledger_wait_seconds=WAIT_SECONDS)

Plant = Callable[[JudgedSale], Awaitable[None]]


class Send(Protocol):
    """The store's `repair`."""

    async def __call__(
        self,
        partition: PartitionId,
        epoch: int,
        request: RepairRequest,
        *,
        by: LedgerIdentity | None,
    ) -> RepairReply: ...


@pytest.fixture
def sale_id() -> str:
    return unique("repair")


@pytest_asyncio.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    async with open_context(settings) as opened:
        yield opened


# -- what is planted ------------------------------------------------------------------------------


async def a_counter(sale: JudgedSale) -> None:
    await sale.redis.hincrby(sale.key("stock"), "shirt:default:available", 1)


async def two_counters_that_agree(sale: JudgedSale) -> None:
    await sale.redis.hincrby(sale.key("stock"), "cap:south:available", -1)
    await sale.redis.hincrby(sale.key("stock"), "cap:south:sold", 1)


async def a_lost_hold(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("reservations"), token_of("holder"))
    await sale.redis.zrem(sale.key("deadlines"), token_of("holder"))


async def a_lost_record(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("reservations"), token_of("holder"))


async def a_lost_record_that_the_sweep_has_met(sale: JudgedSale) -> None:
    await a_lost_record(sale)
    await sale.redis.zadd(sale.key("deadlines"), {token_of("holder"): 99_999_999_999_999})


async def a_lost_return(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("reservations"), token_of("payer"))


async def a_lost_deadline(sale: JudgedSale) -> None:
    await sale.redis.zrem(sale.key("deadlines"), token_of("holder"))


async def _fields(sale: JudgedSale, key: str, name: str | bytes) -> list[object]:
    raw = await sale.redis.hget(sale.key(key), name)
    assert isinstance(raw, bytes)
    return msgspec.msgpack.decode(raw, type=list[object])


async def _forge(sale: JudgedSale, buyer: str, copied: str, **changes: object) -> None:
    fields = await _fields(sale, "reservations", token_of(copied))
    for place, value in changes.items():
        fields[int(place.removeprefix("place_"))] = value
    packed = msgspec.msgpack.encode(fields)
    await sale.redis.hset(sale.key("reservations"), token_of(buyer), packed)


async def a_forged_hold(sale: JudgedSale) -> None:
    """A complete hold, as a lost event would leave it: record, deadline, units and count."""
    await _forge(sale, "ghost", "holder", place_7="ghost", place_9=[SHIRT, 2])
    await sale.redis.zadd(sale.key("deadlines"), {token_of("ghost"): 2**42})
    packed = msgspec.msgpack.encode((SHIRT, 2, token_of("ghost")))
    await sale.redis.hset(sale.key("buyers"), "ghost", packed)
    await sale.redis.hincrby(sale.key("stock"), "shirt:default:available", -2)
    await sale.redis.hincrby(sale.key("stock"), "shirt:default:held", 2)


async def a_hold_of_a_cancelled_one(sale: JudgedSale) -> None:
    await _forge(sale, "canceller", "canceller", place_0=1)


async def a_return_undone(sale: JudgedSale) -> None:
    fields = await _fields(sale, "reservations", token_of("payer"))
    packed = msgspec.msgpack.encode(fields[:11])
    await sale.redis.hset(sale.key("reservations"), token_of("payer"), packed)


async def another_resolution(sale: JudgedSale) -> None:
    await _forge(sale, "lapser", "lapser", place_0=3)


async def another_number(sale: JudgedSale) -> None:
    await _forge(sale, "holder", "holder", place_2=3)


async def another_buyer(sale: JudgedSale) -> None:
    await _forge(sale, "holder", "holder", place_7="thief")
    packed = msgspec.msgpack.encode((1, 1, 2, 1, token_of("holder")))
    await sale.redis.hset(sale.key("buyers"), "thief", packed)


async def a_buyers_count(sale: JudgedSale) -> None:
    fields = await _fields(sale, "buyers", "holder")
    assert fields[0] == ADMISSION
    packed = msgspec.msgpack.encode([*fields[:3], 4, *fields[4:]])
    await sale.redis.hset(sale.key("buyers"), "holder", packed)


async def an_admission_to_spend_again(sale: JudgedSale) -> None:
    fields = await _fields(sale, "buyers", "canceller")
    assert {ADMISSION, GIVEN_BACK, UNPAID, UNPAID_WINDOW} == set(fields[::2])
    await sale.redis.hdel(sale.key("buyers"), "canceller")


async def what_was_given_back_in_an_earlier_window(sale: JudgedSale) -> None:
    fields = await _fields(sale, "buyers", "canceller")
    assert fields[0] == UNPAID_WINDOW
    packed = msgspec.msgpack.encode([fields[0], 4, *fields[2:]])
    await sale.redis.hset(sale.key("buyers"), "canceller", packed)


async def a_forgotten_buyer(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("buyers"), "partial")


async def garbage_for_a_hold(sale: JudgedSale) -> None:
    await sale.redis.hset(sale.key("reservations"), token_of("holder"), b"\xc1")


async def garbage_for_nobody(sale: JudgedSale) -> None:
    await sale.redis.hset(sale.key("reservations"), token_of("ghost"), GARBAGE)


async def a_state_there_is_none_of(sale: JudgedSale) -> None:
    await _forge(sale, "holder", "holder", place_0=9)


async def garbage_for_a_buyer(sale: JudgedSale) -> None:
    await sale.redis.hset(sale.key("buyers"), "partial", GARBAGE)


PLANTS: dict[Plant, set[str]] = {
    a_counter: {"counter"},
    two_counters_that_agree: {"counter"},
    a_lost_hold: {"counter", "hold_missing"},
    a_lost_record: {"counter", "hold_missing"},
    a_lost_record_that_the_sweep_has_met: {"counter", "hold_missing"},
    a_lost_return: {"counter", "hold_missing"},
    a_lost_deadline: {"hold_leaked"},
    a_forged_hold: {"counter", "hold_leaked", "limit_count"},
    a_hold_of_a_cancelled_one: {"hold_leaked"},
    a_return_undone: {"unapplied"},
    another_resolution: {"resolved_twice"},
    another_number: {"unapplied"},
    another_buyer: {"unapplied", "limit_count"},
    a_buyers_count: {"limit_count"},
    an_admission_to_spend_again: {"limit_count"},
    what_was_given_back_in_an_earlier_window: {"limit_count"},
    a_forgotten_buyer: {"limit_count"},
    garbage_for_a_hold: {"hold_missing"},
    garbage_for_nobody: {"counter", "hold_leaked"},
    a_state_there_is_none_of: {"hold_missing"},
    garbage_for_a_buyer: {"limit_count"},
}


# -- running it -----------------------------------------------------------------------------------


async def contents(sale: JudgedSale) -> list[object]:
    """All that a repair may change, to the byte; a buyer's counts are in no order."""
    deadlines = await sale.redis.zrange(sale.key("deadlines"), 0, -1, withscores=True)
    stock, records = [await sale.redis.hgetall(sale.key(n)) for n in ("stock", "reservations")]
    buyers: dict[bytes | str, object] = dict(await sale.redis.hgetall(sale.key("buyers")))
    for name, raw in tuple(buyers.items()):
        if name and raw != GARBAGE:
            known = await _fields(sale, "buyers", name)
            numbers = [each for each in known if isinstance(each, int)]
            tokens = known[len(numbers) :]
            buyers[name] = (dict(zip(numbers[::2], numbers[1::2], strict=True)), tokens)
    return [stock, records, buyers, deadlines]


@asynccontextmanager
async def load(sale: JudgedSale) -> AsyncIterator[None]:
    """Buyers who take shirts and cancel, pay, give back or extend, until the end of the block."""
    await sale.store.adjust(sale.partition, SHIRT, 1_000_000, "plenty", "ops")
    stop = asyncio.Event()

    async def buy(lane: int) -> int:
        bought = 0
        while not stop.is_set():
            buyer = f"buyer-{lane}-{bought}"
            token = token_of(buyer)
            request = admitted(token, buyer, AskedLines((SHIRT, 0, 1 + bought % 2)))
            (reply,) = await sale.store.reserve(sale.partition, [request])
            assert reply.outcome == "accepted"
            if bought % 4 == 0:
                await sale.store.cancel(sale.partition, token, buyer)
            elif bought % 4 == 1:
                await sale.store.confirm(sale.partition, token, "paid")
                await sale.store.return_units(
                    sale.partition, token, token_of(buyer, "back"), ONE_UNIT, restock=True,
                    reason="size", fingerprint=FINGERPRINT,
                )  # fmt: skip
            elif bought % 4 == 2:
                await sale.store.extend(sale.partition, token, 1000)
            bought += 1
        return bought

    lanes = [asyncio.create_task(buy(lane)) for lane in range(LANES)]
    try:
        yield
    finally:
        stop.set()
        assert min(await asyncio.gather(*lanes)) > 0


async def reconcile(sale: JudgedSale, *, apply: bool) -> asyncpg.Record:
    return await reconciled(sale.ledger, sale.sale_id, apply=apply)


async def found_by(sale: JudgedSale, row: asyncpg.Record) -> list[asyncpg.Record]:
    return await sale.ledger.fetch(
        "SELECT * FROM reconciliation_differences WHERE reconciliation_id = $1 ORDER BY number",
        row["reconciliation_id"],
    )


async def repairs_of(sale: JudgedSale) -> list[RepairEvent]:
    """The repair events in the ledger."""
    rows = await sale.ledger.fetch(
        "SELECT payload FROM ledger_events WHERE sale_id = $1 AND type = 'repair' "
        "ORDER BY sequence",
        sale.sale_id,
    )
    events = [decode_event(row["payload"].encode()) for row in rows]
    return [event for event in events if isinstance(event, RepairEvent)]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
async def test_what_is_planted_is_repaired_to_the_byte(
    settings: Settings, judged_sale: JudgedSale, plant: Plant
) -> None:
    before = await contents(judged_sale)
    async with pipeline(settings):
        await plant(judged_sale)
        assert await contents(judged_sale) != before
        report = await reconcile(judged_sale, apply=True)
        found = await found_by(judged_sale, report)
        assert {row["kind"] for row in found} == PLANTS[plant]
        assert all(row["repaired"] for row in found)
        assert report["balanced"] is False
        assert await contents(judged_sale) == before
        again = await reconcile(judged_sale, apply=True)
        assert (again["balanced"], await found_by(judged_sale, again)) == (True, [])
        events = await repairs_of(judged_sale)
        verdict = await judged_sale.verdict(drain_timeout_seconds=WAIT_SECONDS)
        assert verdict.holds, verdict
    numbers = {f"{report['reconciliation_id']}:{row['number']}" for row in found}
    assert events
    assert {event.repair_id for event in events} <= numbers
    assert {event.actor for event in events} == {"ops"}


async def _repair_everything(sale: JudgedSale) -> tuple[int, int]:
    """The id of the reconciliation, and how many differences it repaired."""
    for plant in (a_counter, a_forged_hold, a_lost_hold, another_resolution, a_forgotten_buyer):
        await plant(sale)
    report = await reconcile(sale, apply=True)
    found = await found_by(sale, report)
    assert {row["kind"] for row in found} == {
        "counter", "hold_missing", "hold_leaked", "resolved_twice", "limit_count",
    }  # fmt: skip
    assert [dict(row) for row in found if not row["repaired"]] == []
    for account in (await sale.store.snapshot(sale.partition)).accounts:
        given = account.loaded + account.adjusted + account.transferred
        assert given == account.available + account.held + account.sold
    for _ in range(2):
        again = await reconcile(sale, apply=False)
        assert (again["balanced"], await found_by(sale, again)) == (True, [])
    return report["reconciliation_id"], len(found)


async def test_a_due_hold_without_its_record_stops_no_other_and_expires_once_repaired(
    settings: Settings, judged_sale: JudgedSale
) -> None:
    async def expired(buyer: str) -> bool:
        state = await judged_sale.ledger.fetchval(
            "SELECT state FROM reservations WHERE reservation_id = $1", judged_sale.id_of(buyer)
        )
        return bool(state == "expired")

    async with running(run_order_writer, settings):
        for buyer in ("lost", "other"):
            await judged_sale.reserve(buyer, SHIRT, 0, 1, hold_milliseconds=1)
        await judged_sale.redis.hdel(judged_sale.key("reservations"), token_of("lost"))
        async with running(run_reconciler, settings):
            await wait_until(lambda: expired("other"), "the other hold is expired")
            assert not await expired("lost")
            report = await reconcile(judged_sale, apply=True)
            missing = [f for f in await found_by(judged_sale, report) if f["reservation_id"]]
            assert [(f["reservation_id"], f["kind"], f["repaired"]) for f in missing] == [
                (judged_sale.id_of("lost"), "hold_missing", True)
            ]
            await wait_until(lambda: expired("lost"), "the repaired hold is expired")
            verdict = await judged_sale.verdict(drain_timeout_seconds=WAIT_SECONDS)
            assert verdict.holds, verdict


async def test_everything_at_once_under_load(settings: Settings, judged_sale: JudgedSale) -> None:
    async with pipeline(settings):
        async with load(judged_sale):
            identifier, repaired = await _repair_everything(judged_sale)
        verdict = await judged_sale.verdict(drain_timeout_seconds=WAIT_SECONDS)
    assert verdict.holds, verdict
    audited = await judged_sale.ledger.fetchval(
        "SELECT detail FROM audit_log WHERE sale_id = $1 AND action = 'reconciliation_repaired'",
        judged_sale.sale_id,
    )
    assert msgspec.json.decode(audited) == {
        "reconciliation_id": identifier,
        "requested_by": "ops",
        "differences": repaired,
        "repaired": repaired,
    }


# -- what stands in the way -----------------------------------------------------------------------


async def look(context: Context, sale: JudgedSale) -> tuple[Repair, dict[int, Difference]]:
    comparison = await compare_partition(context, sale.partition, CONFIG)
    found = dict(enumerate(comparison.differences, start=1))
    return Repair(context, comparison, ORDER), found


async def test_a_record_that_moves_is_left_and_found_again(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _forge(judged_sale, "holder", "holder", place_8="another")
    repair, found = await look(context, judged_sale)
    (difference,) = found.values()
    send: Send = context.store.repair
    refused: list[str] = []

    async def meanwhile(
        partition: PartitionId, epoch: int, request: RepairRequest, *, by: LedgerIdentity | None
    ) -> RepairReply:
        await judged_sale.store.extend(partition, token_of("holder"), 1000)
        reply = await send(partition, epoch, request, by=by)
        refused.append(reply.outcome)
        await judged_sale.apply()
        return reply

    with monkeypatch.context() as patched:
        patched.setattr(context.store, "repair", meanwhile)
        await repair.apply(found)
    assert set(refused) == {"moved"}
    assert repair.repaired == set()
    repair, found = await look(context, judged_sale)
    assert list(found.values()) == [difference]
    await repair.apply(found)
    assert repair.repaired == {1}
    await judged_sale.apply()
    assert (await look(context, judged_sale))[1] == {}


async def test_a_record_that_moves_once_is_repaired_at_its_new_number(
    context: Context, judged_sale: JudgedSale
) -> None:
    await _forge(judged_sale, "holder", "holder", place_8="another")
    repair, found = await look(context, judged_sale)
    await judged_sale.store.confirm(judged_sale.partition, token_of("holder"), "pay-3")
    await judged_sale.apply()
    await repair.apply(found)
    assert repair.repaired == {1}
    await judged_sale.apply()
    assert (await look(context, judged_sale))[1] == {}


async def test_what_is_gone_needs_no_repair(context: Context, judged_sale: JudgedSale) -> None:
    await a_lost_deadline(judged_sale)
    repair, found = await look(context, judged_sale)
    await judged_sale.store.cancel(judged_sale.partition, token_of("holder"), "holder")
    await judged_sale.apply()
    await repair.apply(found)
    assert repair.repaired == {1}
    await judged_sale.apply()
    assert await repairs_of(judged_sale) == []


async def test_a_lost_reply_does_not_repair_twice(
    settings: Settings,
    context: Context,
    judged_sale: JudgedSale,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await contents(judged_sale)
    for plant in (a_counter, a_lost_hold, a_buyers_count):
        await plant(judged_sale)
    repair, found = await look(context, judged_sale)
    send: Send = context.store.repair
    lost: set[str] = set()

    async def losing(
        partition: PartitionId, epoch: int, request: RepairRequest, *, by: LedgerIdentity | None
    ) -> RepairReply:
        reply = await send(partition, epoch, request, by=by)
        if request.repair_id not in lost:
            lost.add(request.repair_id)
            raise UnknownOutcome("the connection broke")
        return reply

    monkeypatch.setattr(context.store, "repair", losing)
    async with running(run_order_writer, settings):
        await repair.apply(found)
    assert len(lost) == 3
    assert repair.repaired == found.keys()
    assert await contents(judged_sale) == before


async def test_two_reconcilers_repair_once(
    settings: Settings, context: Context, judged_sale: JudgedSale
) -> None:
    """A reconciler that was stopped after its comparison, and its successor."""
    before = await contents(judged_sale)
    for plant in (a_counter, a_forged_hold, a_buyers_count):
        await plant(judged_sale)
    old, found = await look(context, judged_sale)
    new, also_found = await look(context, judged_sale)
    new.order = RepairOrder(reconciliation_id=8, actor="ops", ledger_wait_seconds=WAIT_SECONDS)
    async with running(run_order_writer, settings):
        await new.apply(also_found)
        await old.apply(found)
    assert new.repaired == also_found.keys()
    assert await contents(judged_sale) == before


async def test_nothing_is_repaired_beside_a_void_number(
    context: Context, judged_sale: JudgedSale
) -> None:
    """The ledger lacks that event, so Redis may be right."""
    await a_counter(judged_sale)
    await a_lost_hold(judged_sale)
    repair, found = await look(context, judged_sale)
    await judged_sale.execute(
        "INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reservation_id, "
        "reason, error, raw) VALUES ('x', $1, 0, 1, 3, 'some-id', 'refused', 'no', '\\x00')"
    )
    planted = await contents(judged_sale)
    again, all_found = await look(context, judged_sale)
    await again.apply(all_found)
    assert (again.repaired, await contents(judged_sale)) == (set(), planted)
    # A number that became void after the comparison: the difference found earlier is repaired.
    await repair.apply({number: d for number, d in found.items() if d.kind == "hold_missing"})
    assert (repair.repaired, await contents(judged_sale)) == (set(), planted)


async def test_a_repair_that_was_cut_short_goes_on(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Finished repairs stay recorded; the other differences are found again, under new numbers."""
    before = await contents(judged_sale)
    await a_lost_deadline(judged_sale)
    identifier = await judged_sale.ledger.fetchval(
        "INSERT INTO reconciliations (sale_id, requested_by, apply, status) "
        "VALUES ($1, 'ops', true, 'running') RETURNING reconciliation_id", judged_sale.sale_id,
    )  # fmt: skip
    await judged_sale.ledger.execute(
        "INSERT INTO reconciliation_differences (reconciliation_id, number, partition, kind, "
        "repaired) VALUES ($1, 1, 0, 'counter', true), ($1, 2, 0, 'hold_leaked', false)",
        identifier,
    )
    await reconcile_of(context, CONFIG).run_once()
    row = await judged_sale.ledger.fetchrow(
        "SELECT * FROM reconciliations WHERE reconciliation_id = $1", identifier
    )
    assert row is not None
    assert (row["status"], row["balanced"]) == ("done", False)
    assert [(d["number"], d["repaired"]) for d in await found_by(judged_sale, row)] == [
        (1, True),
        (3, True),
    ]
    assert await contents(judged_sale) == before
