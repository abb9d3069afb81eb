"""What a chaos test is made of: a sale under load, faults by pid, the end, and the verdict.

    async with trial(up) as run:
        async with run.load.running():
            await run.under_way()
            run.kill("redis")
            await run.goes_on()
        await run.judge()

`judge` sells what is left and asks every checker; nothing may be broken and nothing unjudged.
"""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from loadtest.client.answers import Line
from loadtest.client.calls import Calls, UnavailableError
from loadtest.client.history import Attempt
from loadtest.client.http_client import HttpClient
from loadtest.client.target import Target
from loadtest.drop.buyers import Shares, Stock
from loadtest.verdict.answers.rules import history_violations
from loadtest.verdict.finding import Outcome
from loadtest.verdict.run import AWAY, Verdict, verify
from tests.chaos.rig.aiming import AimedHistory
from tests.chaos.rig.crash_logs import CrashLogs
from tests.chaos.rig.load import SHARES, Load
from tests.chaos.rig.processes import Processes
from tests.chaos.rig.stage import Stage
from tests.support.insisting import insist
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

CONNECTIONS = 64
SKU = "shoe"
UNIT = (Line(SKU, 1),)
LIMIT = 2  # units of it for each buyer
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) AS backends FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND $1::text <> ''
"""
REBUILDS = """
SELECT count(*) AS rebuilds FROM ledger_events
WHERE sale_id = $1 AND type = 'recover' AND payload ->> 'restored' = 'true'
"""
ADMISSION = 9  # the invariant about waiting rooms, of which these sales have none


@dataclass(frozen=True)
class Trial(Processes):
    """One sale on a running system, most often `dropgate up`."""

    sale_id: str
    units: int
    hold_seconds: int
    calls: Calls
    history: AimedHistory
    load: Load
    before: dict[str, list[int]]
    crashes: CrashLogs

    async def reserve(
        self, buyer: str, key: str, lines: Sequence[Line] = UNIT, *, calls: Calls | None = None
    ) -> Attempt:
        """Reserve, insisting; `calls` at another gateway."""
        return await insist(lambda: (calls or self.calls).reserve(buyer, key, lines))

    async def pay(self, held: Attempt) -> Attempt:
        """Confirm a buyer's hold, insisting."""
        return await insist(lambda: self.calls.confirm(held.buyer_id, held.reservation_id, "paid"))

    async def cancel(self, held: Attempt) -> Attempt:
        """Give a buyer's hold back, insisting."""
        return await insist(lambda: self.calls.cancel(held.buyer_id, held.reservation_id))

    async def passed(self, seconds: float) -> None:
        """Let a fault last: wait until the clock says so."""
        until = time.monotonic() + seconds
        await wait_until(lambda: time.monotonic() >= until, "time has passed")

    async def under_way(self, reserves: int = 60) -> None:
        """Wait until `reserves` reserves have been accepted in total."""
        await wait_until(lambda: self.load.fresh() >= reserves, f"{reserves} reserves accepted")

    async def goes_on(self, served: int = 60, fresh: int = 15) -> None:
        """Wait until buyers who come from now on are served and get units."""
        now = time.time()
        await wait_until(
            lambda: self.load.served(now) >= served and self.load.fresh(now) >= fresh,
            f"{served} reserves served and {fresh} of them accepted after the fault",
        )

    async def drained(self) -> None:
        """Wait until the ledger has applied everything that is in the outbox now.

        A Redis that lost its newest data is behind the ledger, so there is nothing to wait for; a
        Redis whose position was overwritten counts as drained, as that fault comes after a drain.
        """
        target = await wait_until(self._known_position, "Redis says where it is")

        async def has_caught_up() -> bool:
            try:
                return await self.watermark() >= target
            except AWAY:  # Postgres is still being started again
                return False

        await wait_until(has_caught_up, "the ledger has caught up")

    async def _known_position(self) -> tuple[int, int] | None:
        try:
            return await self.position()
        except AWAY:  # still being started again
            return None
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return 0, 0

    async def position(self) -> tuple[int, int]:
        """The last (epoch, sequence) of the outbox."""
        async with self.redis() as redis:
            meta = await redis.hmget(f"{{{self.sale_id}:0}}:meta", "epoch", "sequence")
        return int(meta[0] or 0), int(meta[1] or 0)

    async def watermark(self) -> tuple[int, int]:
        """The last (epoch, sequence) the ledger has applied."""
        row = await self.ledger_row("SELECT epoch, sequence FROM watermarks WHERE sale_id = $1")
        return row["epoch"], row["sequence"]

    async def rebuilds(self) -> int:
        """How many rebuilds of the partition the ledger has recorded."""
        return int((await self.ledger_row(REBUILDS))["rebuilds"])

    async def ledger_row(self, statement: str) -> asyncpg.Record:
        """One row of the ledger about this sale ($1)."""
        connection = await asyncpg.connect(self.up.ready.postgres)
        try:
            row = await connection.fetchrow(statement, self.sale_id)
        finally:
            await connection.close()
        assert row is not None
        return row

    async def terminate_backends(self) -> int:
        """End every other connection to Postgres; returns how many there were."""
        try:
            return int((await self.ledger_row(TERMINATE))["backends"])
        except AWAY:  # Postgres is still being started again: no connection was ended
            return 0

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """A plain client of the sale's Redis."""
        async with Redis.from_url(self.up.ready.redis, protocol=2) as client:
            yield client

    @asynccontextmanager
    async def calls_at(self, gateway: str) -> AsyncIterator[Calls]:
        """Calls of this sale's buyers at another gateway, recorded in this trial's history."""
        client = HttpClient(gateway, CONNECTIONS)
        target = msgspec.structs.replace(
            Target.from_ready_file(self.up.ready_path), gateway=gateway
        )
        yield Calls(target, self.sale_id, client, self.history)
        await client.close()

    async def verdict(self) -> Verdict:
        """Every checker, after the drain."""
        return await verify(
            self.sale_id,
            redis_url=self.up.ready.redis,
            dsn=self.up.ready.postgres,
            history=self.history,
            drain_timeout_seconds=WAIT_SECONDS,
        )

    async def judge(self) -> Verdict:
        """Sell out; then every invariant is judged and holds, no log has a traceback, and only
        processes that the test killed have died.
        """
        await self.load.sell_out()
        verdict = await self.verdict()
        unheld = [
            f"{finding.invariant} {finding.name}: {finding.detail} {finding.examples}"
            for finding in verdict.findings
            if finding.outcome is not Outcome.HELD and finding.invariant != ADMISSION
        ]
        unheld += history_violations(self.history, self.units, LIMIT)
        unheld += self.crashes.found()
        assert not unheld, "\n".join(unheld)
        after = self.up.ready.pids
        died = {name for name in after if after[name] != self.before[name]}
        assert died <= self.killed, f"died of another's death: {died - self.killed}"
        return verdict


@asynccontextmanager
async def trial(
    up: Stage,
    *,
    units: int = 150,
    hold_seconds: int = 2,
    seed: int = 1,
    gateway: str = "",
    shares: Shares = SHARES,
) -> AsyncIterator[Trial]:
    """An open sale of `units` with buyers who are about to come, by default to `up`'s gateway."""
    sale_id = unique("chaos")
    crashes = CrashLogs.from_now_on(up.data)
    client = HttpClient(gateway or up.ready.gateway, CONNECTIONS)
    history = AimedHistory()
    calls = Calls(Target.from_ready_file(up.ready_path), sale_id, client, history)
    stock = Stock(SKU, units, LIMIT)
    spec = msgspec.json.encode(
        {
            "hold_seconds": hold_seconds,
            "per_buyer_limit": stock.limit,
            "items": [
                {
                    "sku": stock.sku,
                    "price": {"amount": 9900, "currency": "EUR"},
                    "stock": units,
                }
            ],
        }
    )
    await wait_until(lambda: _is_done(calls.create(spec)), "the sale is made")
    await wait_until(lambda: _is_done(calls.open_sale()), "the sale is open")
    load = Load(calls, history, stock, random.Random(seed), shares)
    yield Trial(up, sale_id, units, hold_seconds, calls, history, load, up.ready.pids, crashes)
    await client.close()


async def _is_done(call: Awaitable[None]) -> bool:
    """Whether an operations call was answered; the last fault may not be repaired yet."""
    try:
        await call
    except UnavailableError:
        return False
    return True
