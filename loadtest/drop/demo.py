"""The demonstration: one drop from an empty sale to the verdict, with progress and figures."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.client.calls import Calls
from loadtest.client.history import NO_ANSWER, History
from loadtest.client.http_client import HttpClient
from loadtest.client.target import Target
from loadtest.drop.progress import Progress
from loadtest.drop.queued import BUYERS, UNITS, QueuedDrop
from loadtest.drop.rush import Drop, DropOptions, stock_of
from loadtest.figures import Figures, accepted_rate, reserve_times
from loadtest.lag import LagSampler
from loadtest.verdict.run import Verdict, verify

OPERATIONS_CONNECTIONS = 4


class DemoResult(msgspec.Struct, frozen=True):
    """How a drop ended."""

    sale_id: str
    verdict: Verdict
    figures: Figures
    failures: tuple[str, ...]  # faults other than broken invariants

    @property
    def exit_code(self) -> int:
        """0 where every invariant holds, demand was served and reconciliations were balanced."""
        return 0 if self.verdict.holds and not self.failures else 1


def new_sale_id(sale_file: Path) -> str:
    """A sale of its own for each run, so that a kept data folder can be used again."""
    return f"{sale_file.stem}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


@asynccontextmanager
async def _running(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless jobs beside the body; a job that fails ends the body, too.

    Raises the first error itself, not a group of errors.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
            yield
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failed:
        raise _first(failed) from None


def _failures(drop: Drop) -> tuple[str, ...]:
    found = []
    if not drop.is_sold_out and drop.unserved:
        sold = drop.snapshot.sold if drop.snapshot else 0
        found.append(f"{sold} of {drop.units} units sold with {drop.unserved} buyers unserved")
    if drop.unbalanced:
        found.append(f"reconciliation under load: {drop.unbalanced[0]}")
    if not drop.balanced_reconciliations:
        found.append("no reconciliation finished while the load ran")
    return tuple(found)


async def _figures(
    drop: Drop, history: History, sampler: LagSampler, rush_seconds: float, seconds: float
) -> Figures:
    buyers = {attempt.buyer_id for attempt in history.of("reserve")}
    answered = sum(a.status != NO_ANSWER for a in history.attempts[: drop.rush_attempts])
    return Figures(
        buyers=len(buyers),
        requests=len(history.attempts),
        seconds=seconds,
        units=drop.units,
        sold=drop.snapshot.sold if drop.snapshot else 0,
        accepted=len(history.reservations()),
        refused=dict(sorted(history.refusals().items())),
        accepted_per_second=accepted_rate(history, drop.units),
        answered_per_second=answered / rush_seconds,
        reserve=reserve_times(history),
        ledger_lag=await sampler.distribution(),
        balanced_reconciliations=drop.balanced_reconciliations,
    )


def figures_table(figures: Figures) -> Table:
    """The figures as a table for people."""
    table = Table(title="Figures", title_justify="left", show_header=False)
    refused = ", ".join(f"{count} {code}" for code, count in figures.refused.items())
    reserve, lag = figures.reserve, figures.ledger_lag
    rows = {
        "buyers": f"{figures.buyers} with {figures.requests} requests in {figures.seconds:.1f} s",
        "units": f"{figures.sold} of {figures.units} sold",
        "accepted": f"{figures.accepted} reservations",
        "refused": refused or "none",
        "accepted per second": f"{figures.accepted_per_second:.0f} while there was stock",
        "answers per second": f"{figures.answered_per_second:.0f} during the rush",
        "reserve": f"p50 {reserve.p50_ms:.0f} ms, p99 {reserve.p99_ms:.0f} ms at the buyers",
        "ledger lag": (
            f"p50 {lag.p50_ms:.0f} ms, p99 {lag.p99_ms:.0f} ms, max {lag.max_ms:.0f} ms "
            f"over {lag.count} reservations"
        ),
        "reconciliations": f"{figures.balanced_reconciliations} balanced while the load ran",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


async def run_drop(
    target: Target, sale_file: Path, sale_id: str, options: DropOptions, console: Console
) -> DemoResult:
    """One drop on a new sale, with progress on `console`; raises RefusedError, TimeoutError."""
    spec = sale_file.read_bytes()
    history = History(complete=True)
    client = HttpClient(target.gateway, options.connections)
    side_client = HttpClient(target.gateway, OPERATIONS_CONNECTIONS)
    calls = Calls(target, sale_id, client, history)
    operations = Calls(target, sale_id, side_client, history)
    drop = Drop(calls, operations, history, stock_of(spec), options)
    progress = Progress(console, history, lambda: drop.snapshot)
    sampler = LagSampler(target.postgres, sale_id)
    try:
        await operations.create_and_open(spec)
        began = time.monotonic()
        async with _running(progress.run(), sampler.run(), drop.watch(), drop.reconcile()):
            await drop.rush()
            rush_seconds = time.monotonic() - began
            await drop.refill()
            await drop.finish()
            seconds = time.monotonic() - began
            verdict = await verify(
                sale_id, redis_url=target.redis, dsn=target.postgres, history=history
            )
    finally:
        await client.close()
        await side_client.close()
    progress.print_line()
    figures = await _figures(drop, history, sampler, rush_seconds, seconds)
    return DemoResult(sale_id, verdict, figures, _failures(drop))


def show(result: DemoResult, console: Console) -> None:
    """Print the verdict, the figures, and what failed beside them."""
    console.print(result.verdict.table())
    console.print(figures_table(result.figures))
    for failure in result.failures:
        console.print(f"FAILED: {failure}", style="bold red", markup=False, highlight=False)
    word = "holds" if result.exit_code == 0 else "DOES NOT HOLD"
    console.print(f"sale {result.sale_id}: {word}", style="bold", markup=False, highlight=False)


async def run_demo(
    *,
    gateway_url: str,
    redis_url: str,
    postgres_dsn: str,
    auth_secret: str,
    sale_file: Path,
    buyers: int = 20_000,
    console: Console | None = None,
) -> int:
    """The whole demonstration against a running system; prints progress, verdicts and figures.

    Two drops: a crowd at an open door, then a smaller crowd through a waiting room. The exit status
    is 1 where an invariant does not hold, or units were left although buyers went without.
    Raises RefusedError where a sale cannot be made.
    """
    target = Target(gateway_url, redis_url, postgres_dsn, auth_secret)
    out = console or Console(file=sys.stdout)
    sale_id = new_sale_id(sale_file)
    out.print(f"sale {sale_id}: {buyers} buyers", highlight=False)
    result = await run_drop(target, sale_file, sale_id, DropOptions(buyers=buyers), out)
    show(result, out)
    served = await run_queued_drop(target, out)
    return result.exit_code if served else 1


async def run_queued_drop(target: Target, console: Console) -> bool:
    """A drop through the waiting room on a new sale; raises RefusedError.

    Prints its verdict; True where every invariant holds and every unit is sold.
    """
    sale_id = f"queue-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    console.print(
        f"sale {sale_id}: {BUYERS} buyers stand in line for {UNITS} units before it opens",
        highlight=False,
    )
    history = History(complete=True)
    client = HttpClient(target.gateway, DropOptions().connections)
    side_client = HttpClient(target.gateway, OPERATIONS_CONNECTIONS)
    drop = QueuedDrop(
        Calls(target, sale_id, client, history), Calls(target, sale_id, side_client, history)
    )
    try:
        figures = await drop.run()
        verdict = await verify(
            sale_id, redis_url=target.redis, dsn=target.postgres, history=history
        )
    finally:
        await client.close()
        await side_client.close()
    console.print(
        f"in line before it opened {figures.in_line_before_opening} · places drawn by lot · "
        f"let in {figures.let_in} · told sold out {figures.told_sold_out} · "
        f"{figures.sold} of {figures.units} units sold · {figures.seconds:.1f} s from opening",
        highlight=False,
        soft_wrap=True,
    )
    console.print(verdict.table())
    served = verdict.holds and figures.sold == figures.units
    word = "holds" if served else "DOES NOT HOLD"
    console.print(f"sale {sale_id}: {word}", style="bold", markup=False, highlight=False)
    return served
