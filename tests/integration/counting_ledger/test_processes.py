"""Processes that are still connected to a primary whose standby was promoted."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from config.settings import Settings
from config.stack.postgres import PostgresServer
from gateway.inventory.keys import PartitionId
from gateway.inventory.opening import open_sale
from gateway.inventory.redis.ledger_fence import LedgerFence
from gateway.inventory.store import ReservationStore
from gateway.process.ledger_identity import LedgerIdentity, read_identity
from order_writer.schema import migrate
from order_writer.service import run as run_order_writer
from reconciler.by_hand import run_once
from reconciler.service import run as run_reconciler
from tests.support.api import serving
from tests.support.sales.partitions import BOUNDS, one_item, open_store
from tests.support.sales.pipeline import create_sale, pipeline, running
from tests.support.sales.reserving import buy
from tests.support.servers import unique
from tests.support.standby import PostgresPair, caught_up, postgres_pair, promote
from tests.support.waiting import wait_until

SOLD = 20


@dataclass(frozen=True, slots=True)
class Split:
    """A sale whose ledger is about to be on two primaries."""

    pair: PostgresPair
    settings: Settings
    store: ReservationStore
    partition: PartitionId

    def at(self, server: PostgresServer) -> Settings:
        """The settings of processes that are connected to this server."""
        postgres = self.settings.postgres.model_copy(update={"dsn": server.dsn_of("postgres")})
        return self.settings.model_copy(update={"postgres": postgres})

    async def sold_in(self, server: PostgresServer) -> int:
        """How many orders this server has."""
        async with _connected(server) as connection:
            return int(await connection.fetchval("SELECT count(*) FROM reservations"))

    async def has(self, server: PostgresServer, orders: int) -> None:
        """Wait until this server has so many orders."""

        async def done() -> bool:
            return await self.sold_in(server) == orders

        await wait_until(done, f"{orders} orders")


@asynccontextmanager
async def _connected(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn_of("postgres"))
    try:
        yield connection
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def split(settings: Settings, up_folder: Path) -> AsyncIterator[Split]:
    """A primary and its standby that has everything so far."""
    async with (
        postgres_pair(up_folder, synchronous=False) as pair,
        open_store(settings.redis) as (_, store),
    ):
        await migrate(pair.leader.dsn_of("postgres"))
        async with _connected(pair.leader) as ledger:
            made = await create_sale(ledger, unique("split"), one_item(1000, hold_seconds=3600))
            await open_sale(ledger, store, made.sale_id, BOUNDS, actor="test")
        assert pair.follower is not None
        await caught_up(pair.leader, pair.follower)
        yield Split(pair, settings, store, made)


class Heard:
    """What all processes of the test have logged."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def of(self, event: str) -> int:
        """How many lines there are about an event."""
        self._text += "".join(self._capsys.readouterr())
        return sum(event in line for line in self._text.splitlines())


async def test_the_identity_follows_a_promotion_at_once(split: Split) -> None:
    old, new = split.pair.leader, split.pair.follower
    assert new is not None
    async with _connected(new) as connection:
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await read_identity(connection)
    await promote(new)
    async with _connected(old) as at_old, _connected(new) as at_new:
        before, after = await read_identity(at_old), await read_identity(at_new)
        await at_old.execute("CREATE ROLE plain LOGIN; SET ROLE plain")
        assert await read_identity(at_old) == before, "any role may ask"
    assert after.succeeds(before)
    assert not before.succeeds(after)


async def test_a_replaced_primary_gets_and_says_nothing_more(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standby lacks the end of the ledger; the new primary ends with everything."""
    pair, store, partition = split.pair, split.store, split.partition
    old, new, heard = pair.leader, pair.follower, Heard(capsys)
    assert new is not None
    async with pipeline(split.at(old)):
        await buy(store, partition, 0, SOLD)
        await split.has(old, SOLD)
        await caught_up(old, new)
        pair.lag()
        await buy(store, partition, SOLD, SOLD)
        await split.has(old, 2 * SOLD)
        await promote(new)
        assert await split.sold_in(new) == SOLD, "the standby lagged"
        async with pipeline(split.at(new)):
            await split.has(new, 2 * SOLD)
            await wait_until(lambda: heard.of("ledger_fenced") >= 2, "writer and reconciler know")
            await buy(store, partition, 2 * SOLD, SOLD)
            await split.has(new, 3 * SOLD)
            assert await split.sold_in(old) == 2 * SOLD

            async def trimmed() -> bool:
                snapshot = await store.snapshot(partition)
                return snapshot.ledger_sequence == snapshot.sequence

            await wait_until(trimmed, "the new ledger's watermark is reported")
            report = await run_once(split.at(new), "reconcile", partition.sale_id)
            assert "balanced" in report
            with pytest.raises(ConnectionError, match="does not count"):
                await run_once(split.at(old), "trim", partition.sale_id)
            assert heard.of("duty_waits") + heard.of("trying_again") > 0, "they go on trying"
            assert await split.sold_in(old) == 2 * SOLD


async def test_without_the_fence_a_replaced_primary_gets_all_that_follows(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: two ledgers, and both are believed."""

    async def believe(_self: LedgerFence, _identity: LedgerIdentity) -> None:
        return

    monkeypatch.setattr(LedgerFence, "claim", believe)
    pair, store, partition = split.pair, split.store, split.partition
    old, new = pair.leader, pair.follower
    assert new is not None
    await promote(new)
    async with pipeline(split.at(old)), pipeline(split.at(new)):
        await buy(store, partition, 0, SOLD)
        await split.has(new, SOLD)
        await split.has(old, SOLD)


async def test_a_restored_copy_is_accepted_when_nobody_reaches_the_ledger_that_counted(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary is lost for good, and the old primary is put back."""
    monkeypatch.setattr(LedgerFence.__init__, "__defaults__", (2.0,))
    pair, store, partition = split.pair, split.store, split.partition
    old, new = pair.leader, pair.follower
    assert new is not None
    await promote(new)
    async with AsyncExitStack() as at_new:
        await at_new.enter_async_context(running(run_order_writer, split.at(new)))
        await buy(store, partition, 0, SOLD)
        await split.has(new, SOLD)
        async with running(run_order_writer, split.at(old)):
            await buy(store, partition, SOLD, SOLD)
            await split.has(new, 2 * SOLD)
            assert await split.sold_in(old) == 0
            await at_new.aclose()
            await split.has(old, 2 * SOLD)
        async with running(run_reconciler, split.at(old)):
            assert "balanced" in await run_once(split.at(old), "reconcile", partition.sale_id)


async def test_operators_are_refused_by_a_gateway_at_a_ledger_that_does_not_count(
    settings: Settings, fence: LedgerFence, promoted: LedgerIdentity
) -> None:
    async with serving(settings) as api:
        sale = await api.open_sale()
        await fence.claim(promoted)
        for verb in ("close", "settle"):
            reply = await api.ops("POST", f"/v1/sales/{sale}/{verb}")
            assert reply.told == (503, "recovering")
        assert (await api.call("GET", f"/v1/sales/{sale}")).status == 200
        assert await api.held(sale, "buyer-1"), "buyers do not notice"
