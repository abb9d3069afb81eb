"""Sales in which nothing happens: they cost little, and what goes wrong in them is noticed."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.settings import Settings
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.store import ReservationStore
from reconciler.comparing.balanced import Balanced
from reconciler.comparing.compare import CompareConfig
from reconciler.context import Context, open_context
from reconciler.duties import rounds, trim
from reconciler.duties.directory import Directory, read_partitions
from reconciler.duties.reconcile import Reconcile
from reconciler.duties.recover import Recover, RecoverConfig
from reconciler.duties.sights import Seen, Sights
from reconciler.duties.trim import Trim, TrimConfig
from reconciler.duties.window import Window, WindowConfig
from tests.support.sales.judged_sale import JudgedSale
from tests.support.sales.partitions import BOUNDS, one_item
from tests.support.sales.pipeline import create_sale
from tests.support.servers import unique
from tests.support.waiting import wait_until

TURNS = 10
OTHERS = 4
# So that a sale that is due is due at once.
CONFIG = CompareConfig(interval_seconds=0.001)


@pytest.fixture
def sale_id() -> str:
    return unique("idle")


@pytest_asyncio.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    async with open_context(settings) as opened:
        yield opened


class Duties:
    """The duties of one process, which share what they read; a turn at a time."""

    def __init__(self, context: Context) -> None:
        self.directory = Directory(context.ledger)
        self.sights = Sights(context.store, self.directory)
        self.balanced = Balanced(CONFIG)
        self.recover = Recover(context, self.sights, self.balanced, RecoverConfig())
        self.window = Window(context, self.sights, WindowConfig())
        self.trim = Trim(context, self.directory, TrimConfig())
        self.reconcile = Reconcile(context, self.sights, self.balanced, CONFIG)

    async def turn(self) -> None:
        """One run of each, after a change of any sale."""
        self.sights.outdate()
        for duty in (self.recover, self.window, self.trim, self.reconcile):
            await duty.run_once()


class Counted:
    """Counts the calls of a method, which go on as they were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.calls = 0
        before = getattr(owner, name)

        async def counted(*arguments: object, **options: object) -> object:
            self.calls += 1
            return await before(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)


async def runs(sale: JudgedSale) -> int:
    """How often the sale was compared."""
    return int(
        await sale.ledger.fetchval(
            "SELECT count(*) FROM reconciliations WHERE sale_id = $1 AND status = 'done'",
            sale.sale_id,
        )
    )


async def open_others(sale: JudgedSale) -> list[PartitionId]:
    """Sales in which nothing has happened."""
    partitions = []
    for _ in range(OTHERS):
        partitions.append(await create_sale(sale.ledger, unique("quiet"), one_item(5)))
        await open_sale(sale.ledger, sale.store, partitions[-1].sale_id, BOUNDS, actor="test")
    return partitions


async def test_a_quiet_sale_is_compared_once_and_whenever_somebody_asks(
    context: Context, judged_sale: JudgedSale
) -> None:
    duties = Duties(context)
    for _ in range(TURNS):
        await duties.turn()
    assert await runs(judged_sale) == 1
    await judged_sale.ledger.execute(
        "INSERT INTO reconciliations (sale_id, requested_by) VALUES ($1, 'ops')",
        judged_sale.sale_id,
    )
    await duties.turn()
    assert await runs(judged_sale) == 2
    await judged_sale.reserve("newcomer", 1, 0, 1)
    await judged_sale.apply()
    await duties.turn()
    assert await runs(judged_sale) == 3


async def test_a_counter_that_changed_without_an_event_is_found_in_a_quiet_sale(
    context: Context, judged_sale: JudgedSale
) -> None:
    duties = Duties(context)
    await duties.turn()
    await duties.turn()
    assert await runs(judged_sale) == 1
    stock = judged_sale.key("stock")
    await judged_sale.redis.hincrby(stock, await counter_of(judged_sale), 1)
    await duties.turn()
    drift = await judged_sale.ledger.fetchval(
        "SELECT field FROM reconciliation_differences ORDER BY reconciliation_id DESC LIMIT 1"
    )
    assert drift == "available"


async def test_a_quiet_partition_costs_no_snapshot_but_in_its_turn(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_others(judged_sale)
    monkeypatch.setattr(rounds, "CLOSELY_LEAST", 1)
    duties = Duties(context)
    await duties.recover.run_once()
    snapshots = Counted(monkeypatch, ReservationStore, "snapshot")
    for _ in range(TURNS):
        duties.sights.outdate()
        await duties.recover.run_once()
        await duties.window.run_once()
    assert snapshots.calls == TURNS


@pytest.mark.parametrize("key", ["stock", "deadlines", "meta"])
async def test_damage_that_no_look_shows_is_found_in_turn(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    await open_others(judged_sale)
    monkeypatch.setattr(rounds, "CLOSELY_LEAST", 1)
    duties = Duties(context)
    await duties.recover.run_once()
    client, name = judged_sale.redis, judged_sale.key(key)
    before = await client.hget(judged_sale.key("meta"), "epoch")
    assert before is not None
    if key == "deadlines":
        await client.zrem(name, "")
    else:
        field = "hold_ms" if key == "meta" else await counter_of(judged_sale)
        await client.hset(name, field, "no number")
    found = (await context.store.look([judged_sale.partition]))[0]
    assert found is not None  # it looks whole
    for _ in range(OTHERS + 1):
        duties.sights.outdate()
        await duties.recover.run_once()

    async def rebuilt() -> bool:
        now = await client.hget(judged_sale.key("meta"), "epoch")
        return now is not None and int(now) > int(before)

    await wait_until(rebuilt, "the partition is rebuilt under the next epoch")
    await duties.recover.end_work()


async def counter_of(sale: JudgedSale) -> str:
    """The field of a counter of the stock."""
    account = (await sale.store.snapshot(sale.partition)).accounts[0]
    return f"{account.sku}:{account.location}:available"


@pytest.mark.usefixtures("judged_sale")
async def test_a_watermark_that_stands_still_is_reported_seldom_once_nothing_is_left_to_drop(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim, "REPEAT_SECONDS", -1.0)
    reports = Counted(monkeypatch, ReservationStore, "trim")
    kept = Trim(context, Directory(context.ledger), TrimConfig(keep_seconds=3600.0, keep_events=9))
    dropped = Duties(context).trim
    for duty, calls in ((kept, TURNS), (dropped, 1)):
        reports.calls = 0
        for _ in range(TURNS):
            await duty.run_once()
        assert reports.calls == calls
    monkeypatch.setattr(trim, "REPEAT_DONE_SECONDS", -1.0)
    await dropped.run_once()
    assert reports.calls == 2


async def test_the_partitions_are_read_once_for_all_duties_and_again_after_a_change(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.duties.directory.SHARED_SECONDS", 3600.0)
    monkeypatch.setattr("reconciler.duties.sights.SHARED_SECONDS", 3600.0)
    reads = Counted(monkeypatch, Directory, "_read")
    looks = Counted(monkeypatch, ReservationStore, "look")
    duties = Duties(context)
    for _ in range(2):
        await duties.window.run_once()
        await duties.trim.run_once()
        await duties.recover.run_once()
        await duties.reconcile.run_once()
    assert (reads.calls, looks.calls) == (1, 1)
    added = await create_sale(judged_sale.ledger, unique("added"), one_item(5))
    await open_sale(judged_sale.ledger, judged_sale.store, added.sale_id, BOUNDS, actor="test")
    duties.sights.outdate()
    seen = await duties.sights.current()
    assert added in [each.live.partition for each in seen]
    assert (reads.calls, looks.calls) == (2, 2)


async def test_of_a_partition_that_has_not_changed_nothing_is_made_anew(
    context: Context, judged_sale: JudgedSale
) -> None:
    await open_others(judged_sale)
    directory = Directory(context.ledger)
    await directory.run_once()
    before = directory.partitions
    await directory.run_once()
    assert directory.partitions is before
    await judged_sale.reserve("newcomer", 1, 0, 1)
    await judged_sale.apply()
    await directory.run_once()
    after = {each.partition: each for each in directory.partitions}
    assert [after[each.partition] is each for each in before].count(False) == 1
    assert directory.partitions == await read_partitions(context.ledger)


async def test_the_partitions_of_one_sale_are_read_alone(
    context: Context, judged_sale: JudgedSale
) -> None:
    others = await open_others(judged_sale)
    live = await read_partitions(context.ledger, others[1].sale_id)
    assert [each.partition for each in live] == [others[1]]
    assert len(await read_partitions(context.ledger)) == OTHERS + 1


async def test_a_sale_that_was_settled_since_the_look_is_not_rebuilt(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Duties(context)
    (seen,) = await duties.sights.current()
    await judged_sale.ledger.execute(
        "UPDATE sales SET state = 'settled' WHERE sale_id = $1", judged_sale.sale_id
    )
    keys = [key async for key in judged_sale.redis.scan_iter(f"{{{judged_sale.partition}}}:*")]
    await judged_sale.redis.delete(*keys)

    async def stale() -> tuple[Seen, ...]:
        return (seen,)

    monkeypatch.setattr(duties.sights, "current", stale)
    rebuilds = Counted(monkeypatch, Recover, "_plan_rebuild")
    looked_again = Counted(monkeypatch, Recover, "_look_again")
    await duties.recover.run_once()
    await wait_until(lambda: looked_again.calls == 1)
    await wait_until(lambda: not duties.recover._recoveries.has(judged_sale.partition))
    assert rebuilds.calls == 0
    assert await judged_sale.redis.exists(*keys) == 0
