"""Runs of reconciliations: how far they are, and that none is repeated for nobody."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
import pytest_asyncio

from config.settings import Settings
from reconciler.by_hand import reconcile_of
from reconciler.comparing import compare
from reconciler.comparing.compare import CompareConfig
from reconciler.comparing.paging import Scope
from reconciler.comparing.whole import Suspects, suspects_of_partition
from reconciler.context import Context, open_context
from reconciler.duties import progress, reconcile
from reconciler.duties.reconcile import BY_HAND, PERIODIC
from tests.support.sales.judged_sale import JudgedSale
from tests.support.servers import unique
from tests.support.waiting import wait_until

CONFIG = CompareConfig(page_records=2)


@pytest.fixture
def sale_id() -> str:
    return unique("runs")


@pytest_asyncio.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    async with open_context(settings) as opened:
        yield opened


async def begun(
    sale: JudgedSale, requested_by: str, *, status: str = "running", waited_seconds: float = 0
) -> int:
    """The id of a run in this status, whose last caller waited so long ago."""
    identifier: int = await sale.ledger.fetchval(
        "INSERT INTO reconciliations (sale_id, requested_by, status, waited_at) "
        "VALUES ($1, $2, $3, now() - make_interval(secs => $4)) RETURNING reconciliation_id",
        sale.sale_id, requested_by, status, waited_seconds,
    )  # fmt: skip
    return identifier


async def row_of(sale: JudgedSale, identifier: int) -> asyncpg.Record:
    row = await sale.ledger.fetchrow(
        "SELECT * FROM reconciliations WHERE reconciliation_id = $1", identifier
    )
    assert row is not None
    return row


async def outcome(sale: JudgedSale, identifier: int) -> tuple[str, str | None]:
    row = await row_of(sale, identifier)
    return row["status"], row["failure"]


async def test_a_run_that_nobody_waits_for_is_not_repeated(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Its reconciler died; with one caller left it is repeated."""
    long_ago = reconcile.ABANDONED_SECONDS + 1
    left = [
        await begun(judged_sale, name, waited_seconds=long_ago)
        for name in ("ops", PERIODIC, BY_HAND)
    ]
    awaited = await begun(judged_sale, "ops")
    by_hand = await begun(judged_sale, BY_HAND)
    await reconcile_of(context, CONFIG).run_once()
    assert [await outcome(judged_sale, each) for each in left] == [("failed", "abandoned")] * 3
    assert await outcome(judged_sale, awaited) == ("done", None)
    assert await outcome(judged_sale, by_hand) == ("running", None)


async def test_a_request_waits_for_its_first_run_however_long(
    context: Context, judged_sale: JudgedSale
) -> None:
    """Only repeats need somebody who waits: a result may be looked up later."""
    asked = await begun(judged_sale, "ops", status="requested", waited_seconds=3600)
    await reconcile_of(context, CONFIG).run_once()
    assert await outcome(judged_sale, asked) == ("done", None)


async def test_a_run_that_takes_too_long_has_failed(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0

    async def never(*_: object, **__: object) -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(reconcile, "RUN_SECONDS", 0.1)
    monkeypatch.setattr(reconcile, "compare_partition", never)
    asked = await begun(judged_sale, "ops", status="requested")
    duty = reconcile_of(context, CONFIG)
    await duty.run_once()
    await duty.run_once()
    assert await outcome(judged_sale, asked) == ("failed", "timed_out")
    assert runs <= 1


async def test_a_defect_is_not_run_into_again(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(reconcile, "compare_partition", defect)
    asked = await begun(judged_sale, "ops", status="requested")
    with pytest.raises(ZeroDivisionError):
        await reconcile_of(context, CONFIG).run_once()
    assert await outcome(judged_sale, asked) == ("failed", "internal")


async def test_a_run_says_how_far_it_is(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await begun(judged_sale, "ops", status="requested")
    total = await judged_sale.ledger.fetchval(
        "SELECT count(*) FROM reservations WHERE sale_id = $1", judged_sale.sale_id
    )
    seen, shown = 0, list[int]()

    async def is_shown() -> bool:
        row = await row_of(judged_sale, asked)
        shown.append(row["compared"])
        return (row["compared"], row["to_compare"]) == (seen, total)

    async def once_shown(scope: Scope, item_of: Mapping[int, int]) -> AsyncIterator[Suspects]:
        nonlocal seen
        async for page in suspects_of_partition(scope, item_of):
            yield page
            seen += page.seen
            await wait_until(is_shown, "the page is counted in the row")

    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(compare, "suspects_of_partition", once_shown)
    await reconcile_of(context, CONFIG).run_once()
    assert shown == sorted(shown)
    assert len(set(shown)) > 2
    row = await row_of(judged_sale, asked)
    assert (row["status"], row["compared"], row["to_compare"]) == ("done", total, total)


async def test_a_run_by_hand_keeps_itself_awaited(
    context: Context, judged_sale: JudgedSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(reconcile, "compare_partition", never)
    task = asyncio.create_task(reconcile_of(context, CONFIG).run_by_hand(judged_sale.sale_id))

    async def moved() -> bool:
        return bool(
            await judged_sale.ledger.fetchval(
                "SELECT waited_at > requested_at FROM reconciliations WHERE requested_by = $1",
                BY_HAND,
            )
        )

    await wait_until(moved, "the run by hand is fresh")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
