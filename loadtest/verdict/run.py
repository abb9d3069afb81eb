"""The verdict: wait for the drain, take both systems at one moment, ask every checker."""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rich.table import Table

from config.waiting import poll_until
from loadtest.client.history import History
from loadtest.verdict.checkers.accounted import accounted
from loadtest.verdict.checkers.admission import admission
from loadtest.verdict.checkers.agreement import agreement
from loadtest.verdict.checkers.backlog import backlog
from loadtest.verdict.checkers.idempotency import idempotency
from loadtest.verdict.checkers.identity import identity
from loadtest.verdict.checkers.limits import limits
from loadtest.verdict.checkers.overload import overload
from loadtest.verdict.checkers.privacy import privacy
from loadtest.verdict.checkers.resolution import resolution
from loadtest.verdict.checkers.sequence import sequence
from loadtest.verdict.checkers.undersell import undersell
from loadtest.verdict.context import Context, Drain
from loadtest.verdict.finding import Finding, Outcome
from loadtest.verdict.ledger import CONNECT_TIMEOUT_SECONDS, Ledger, Sale
from loadtest.verdict.partition_view import (
    NotLoadedError,
    PartitionView,
    read_partition,
    read_tail,
)

DRAIN_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05
REDIS_TIMEOUT_SECONDS = 10.0

CHECKERS: tuple[Callable[[Context], Awaitable[Finding]], ...] = (
    identity,
    accounted,
    idempotency,
    limits,
    resolution,
    sequence,
    agreement,
    undersell,
    admission,
    privacy,
    overload,
    backlog,
)
# A server that is down, starting, or was just restarted.
AWAY = (
    OSError,
    TimeoutError,
    RedisConnectionError,
    RedisTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_STYLE = {Outcome.HELD: "green", Outcome.BROKEN: "bold red", Outcome.NOT_JUDGED: "dim"}


class Verdict(msgspec.Struct, frozen=True):
    """What became of every invariant of one sale."""

    sale_id: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """No invariant is broken (an invariant that cannot be judged does not count)."""
        return all(finding.outcome is not Outcome.BROKEN for finding in self.findings)

    def finding(self, invariant: int) -> Finding:
        """The finding about one invariant; StopIteration where there is none."""
        return next(f for f in self.findings if f.invariant == invariant)

    def to_json(self) -> bytes:
        """The whole verdict as a JSON object with `holds` in front."""
        return msgspec.json.encode(
            {"sale_id": self.sale_id, "holds": self.holds, "findings": self.findings}
        )

    def table(self) -> Table:
        """The verdict as a table for people: a row per invariant, with its violations below."""
        table = Table(title=f"Verdict of sale {self.sale_id}", title_justify="left")
        table.add_column("#", justify="right")
        table.add_column("invariant", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("evidence", overflow="fold")
        for f in self.findings:
            evidence = "\n  ".join((f.detail, *f.examples))
            table.add_row(
                str(f.invariant),
                f.name,
                f"[{_STYLE[f.outcome]}]{f.outcome.value.replace('_', ' ')}[/]",
                evidence.replace("[", "\\["),
            )
        return table


async def _remaining(redis: Redis, ledger: Ledger, sale: Sale) -> tuple[str, ...]:
    """What has not arrived in the ledger yet, by partition."""
    found = []
    for number, watermark in (await ledger.watermarks()).items():
        try:
            tail = await read_tail(redis, sale.sale_id, number)
        except NotLoadedError as error:
            found.append(str(error))
            continue
        if watermark.position != tail.position:
            found.append(
                f"partition {number}: ledger at {watermark.position}, outbox at {tail.position}"
            )
        if tail.due_holds:
            found.append(f"partition {number}: {tail.due_holds} due holds not released")
    return tuple(found)


async def _views(redis: Redis, ledger: Ledger, sale: Sale) -> tuple[PartitionView, ...] | None:
    """Redis' side at the positions of the ledger's snapshot, or None if it has moved on."""
    views = []
    for number, watermark in (await ledger.watermarks()).items():
        view = await read_partition(redis, sale.sale_id, number)
        if view is None or view.position != watermark.position:
            return None
        views.append(view)
    return tuple(views)


async def _judge(
    redis: Redis, ledger: Ledger, history: History | None, began: float, deadline: float
) -> tuple[Finding, ...] | None:
    """The findings once both systems are read at one position; at the bound, of what can be read.

    None: neither is reached yet.
    """
    async with ledger.snapshot():
        sale = await ledger.sale()
        is_settled = sale.state == "settled"
        remaining = () if is_settled else await _remaining(redis, ledger, sale)
        now = time.monotonic()
        views: tuple[PartitionView, ...] | None = () if is_settled else None
        if not remaining and not is_settled:
            views = await _views(redis, ledger, sale)
            if views is None:
                remaining = ("the sale kept moving: events came in during every reading",)
        if remaining and now < deadline:
            return None
        await ledger.prepare()
        context = Context(
            sale=sale,
            ledger=ledger,
            watermarks=await ledger.watermarks(),
            partitions=views or (),
            drain=Drain(now - began, remaining),
            history=history,
            steps=await ledger.steps() if history else (),
            epochs=await ledger.epochs() if history else (),
        )
        return tuple([await checker(context) for checker in CHECKERS])


async def _judge_at_rest(
    redis: Redis, ledger: Ledger, history: History | None, began: float, deadline: float
) -> tuple[Finding, ...]:
    """The findings once both systems are at rest, or at the deadline."""
    findings: tuple[Finding, ...] | None = None

    async def is_judged() -> bool:
        nonlocal findings
        findings = await _judge(redis, ledger, history, began, deadline)
        return findings is not None

    await poll_until(is_judged, math.inf, first_seconds=POLL_SECONDS)
    return findings or ()


async def check_servers(redis_url: str, dsn: str) -> None:
    """Raise what redis-py and asyncpg raise where a server does not answer now.

    A server that is starting does answer. A command calls this first: `verify` waits for servers
    that go away meanwhile, and would also wait for a server that was never there.
    """
    redis = _client(redis_url)
    try:
        with suppress(BusyLoadingError):
            await redis.ping()
    finally:
        await redis.aclose()
    with suppress(asyncpg.CannotConnectNowError):
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
        await connection.close()


def _client(redis_url: str) -> Redis:
    return Redis.from_url(
        redis_url,
        protocol=2,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


async def verify(
    sale_id: str,
    *,
    redis_url: str,
    dsn: str,
    history: History | None = None,
    drain_timeout_seconds: float = DRAIN_TIMEOUT_SECONDS,
) -> Verdict:
    """The verdict of all twelve invariants at one moment after the drain.

    Waits, by condition and at most `drain_timeout_seconds`, until the ledger's watermark is the
    outbox's tail and no due hold waits; servers that come back within that time are no error.
    Raises UnknownSaleError for a sale the ledger does not know, and what redis-py and asyncpg raise
    where a server stays away.
    """
    began = time.monotonic()
    deadline = began + drain_timeout_seconds

    findings: tuple[Finding, ...] = ()

    async def is_judged() -> bool:
        """False where a server is away and may still come back."""
        nonlocal findings
        redis = _client(redis_url)
        try:
            async with Ledger.connect(dsn, sale_id) as ledger:
                findings = await _judge_at_rest(redis, ledger, history, began, deadline)
        except AWAY:
            if time.monotonic() >= deadline:
                raise
            return False
        finally:
            await redis.aclose()
        return True

    # No bound of the polling's own: at the deadline a look judges, or raises.
    await poll_until(is_judged, math.inf, first_seconds=POLL_SECONDS)
    return Verdict(sale_id, findings)
