"""Several relays: one leads a partition, another takes over, and an old leader does no harm."""

import asyncio
import signal
from collections.abc import Sequence

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import EventLogSettings, Settings
from gateway.inventory.keys import PartitionId, relay_key
from gateway.inventory.leases import Leases, owner_name
from gateway.inventory.opening import open_sale
from gateway.inventory.redis.outbox import create_reader, position_of
from gateway.inventory.store import ReservationStore
from gateway.relay.producer import EventProducer, Outgoing
from gateway.relay.relay import Relay, RelayConfig
from order_writer.service import run as run_order_writer
from reconciler.duties.recover import RELAY_LEASE_MILLISECONDS
from tests.support.command import process_of
from tests.support.sales.partitions import BOUNDS, one_item
from tests.support.sales.pipeline import create_sale, running
from tests.support.sales.reserving import buy
from tests.support.sales.topic import read_topic
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

LONG_MILLISECONDS = 600_000


class Held(EventProducer):
    """Stops in front of the log, as a process stopped there does."""

    def __init__(self, settings: EventLogSettings) -> None:
        super().__init__(settings)
        self.holding = asyncio.Event()
        self.go_on = asyncio.Event()

    async def produce(self, events: Sequence[Outgoing]) -> list[Outgoing]:
        self.holding.set()
        await self.go_on.wait()
        return await super().produce(events)


@pytest_asyncio.fixture
async def partition(ledger: asyncpg.Connection, store: ReservationStore) -> PartitionId:
    made = await create_sale(ledger, unique("lease"), one_item(10_000))
    await open_sale(ledger, store, made.sale_id, BOUNDS, actor="test")
    return made


async def leader(client: redis.asyncio.Redis, partition: PartitionId) -> int:
    """The process id of the relay that leads, 0 where none does."""
    owner = await client.hget(relay_key(partition), "owner")
    return int(bytes(owner).split(b"-")[-2]) if isinstance(owner, bytes) else 0


async def check_history(ledger: asyncpg.Connection, events: int, reservations: int) -> None:
    """Wait until the ledger has everything: contiguous, each once, nothing set aside."""

    async def applied() -> bool:
        return bool(await ledger.fetchval("SELECT sequence FROM watermarks") == events)

    await wait_until(applied, f"the ledger is at {events}")
    rows = await ledger.fetch("SELECT sequence FROM ledger_events ORDER BY sequence")
    assert [row["sequence"] for row in rows] == list(range(1, events + 1))
    assert await ledger.fetchval("SELECT count(*) FROM reservations") == reservations
    assert await ledger.fetchval("SELECT held FROM stock_accounts") == reservations
    assert await ledger.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await ledger.fetchval("SELECT stopped_reason FROM watermarks") is None


async def test_relays_that_are_stopped_in_turn_lose_and_double_nothing(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
    partition: PartitionId,
) -> None:
    with process_of("relay", on_kafka) as one, process_of("relay", on_kafka) as other:
        async with running(run_order_writer, on_kafka):
            by_pid = {process.pid: process for process in (one, other)}
            await wait_until(lambda: leader(redis_client, partition), "a leader")
            bought = 0
            for _ in range(2):
                first = await leader(redis_client, partition)
                assert first in by_pid
                # Stopped at any point while events flow.
                buying = asyncio.ensure_future(buy(store, partition, bought, 150))

                async def flowing(after: int = bought + 2) -> bool:
                    noted = await redis_client.hget(relay_key(partition), "position")
                    return isinstance(noted, bytes) and position_of(noted).sequence > after

                await wait_until(flowing, "events are carried")
                by_pid[first].send_signal(signal.SIGSTOP)
                await buying

                async def taken_over(by: int = first) -> bool:
                    return await leader(redis_client, partition) not in {0, by}

                await wait_until(taken_over, "another relay leads")
                bought += 150
                await check_history(ledger, bought + 2, bought)
                by_pid[first].send_signal(signal.SIGCONT)
                await buy(store, partition, bought, 50)
                bought += 50
                await check_history(ledger, bought + 2, bought)


async def test_a_paused_leader_that_goes_on_sends_harmless_copies(
    on_kafka: Settings,
    ledger: asyncpg.Connection,
    store: ReservationStore,
    redis_client: redis.asyncio.Redis,
    partition: PartitionId,
) -> None:
    reader = create_reader(on_kafka.redis, connections=4)
    paused, producer = Held(on_kafka.event_log), EventProducer(on_kafka.event_log)
    # A relay that does not renew its lease stands for a paused relay.
    old = Relay(
        reader,
        paused,
        RelayConfig(lease_milliseconds=300, renew_milliseconds=LONG_MILLISECONDS),
    )
    new = Relay(reader, producer, RelayConfig(lease_milliseconds=300, renew_milliseconds=100))
    try:
        await buy(store, partition, 0, 20)
        old_round = asyncio.ensure_future(old.run_round([partition]))
        await asyncio.wait_for(paused.holding.wait(), WAIT_SECONDS)
        await buy(store, partition, 20, 20)

        async def carried() -> bool:
            await new.run_round([partition])
            return bool(await redis_client.hget(relay_key(partition), "position") == b"1-42")

        await wait_until(carried, "the new leader has carried everything")
        paused.go_on.set()
        assert await old_round
        # The old leader has sent its copies behind newer events without setting the position back.
        assert await redis_client.hget(relay_key(partition), "position") == b"1-42"
        topic = [entry.position.sequence for _, entry in await read_topic(on_kafka.event_log)]
        assert topic == [*range(1, 43), *range(1, 23)]
        async with running(run_order_writer, on_kafka):
            await check_history(ledger, 42, 40)
    finally:
        await paused.close()
        await producer.close()
        await reader.aclose()


async def test_a_lease_is_taken_when_it_has_run_out_or_is_given_up(
    settings: Settings, redis_client: redis.asyncio.Redis, partition: PartitionId
) -> None:
    reader = create_reader(settings.redis)
    long, short = Leases(reader, LONG_MILLISECONDS), Leases(reader, 1)
    rival = Leases(reader, LONG_MILLISECONDS)
    try:
        assert list(await short.take([partition])) == [partition]

        async def taken() -> bool:
            return partition in await long.take([partition])

        await wait_until(taken, "a lease that has run out is taken")
        assert await rival.take([partition]) == {}
        assert await rival.note({partition: (await long.take([partition]))[partition]}) == {
            partition
        }
        await rival.release([partition])  # the lease is another relay's: it stays
        assert await rival.take([partition]) == {}
        await long.release([partition])
        assert list(await rival.take([partition])) == [partition]
        await long.take_over(partition)  # as recovery does, whichever relay leads
        assert await rival.take([partition]) == {}
        assert await rival.note({partition: position_of(b"1-1")}) == {partition}
        await long.release([partition])
        assert list(await rival.take([partition])) == [partition]
        await redis_client.set(relay_key(partition), "not a hash")
        assert list(await rival.take([partition])) == [partition]
        # A lease written by a clock that ran ahead does not count.
        await redis_client.hincrby(relay_key(partition), "until", LONG_MILLISECONDS)
        assert list(await long.take([partition])) == [partition]
    finally:
        await reader.aclose()


async def test_a_relay_with_shorter_leases_leaves_recovery_the_lead(
    settings: Settings, partition: PartitionId
) -> None:
    reader = create_reader(settings.redis)
    relay = Leases(reader, RelayConfig().lease_milliseconds)
    recovery = Leases(reader, RELAY_LEASE_MILLISECONDS)
    try:
        assert list(await relay.take([partition])) == [partition]
        await recovery.take_over(partition)
        assert await relay.take([partition]) == {}
        await recovery.release([partition])
        assert list(await relay.take([partition])) == [partition]
    finally:
        await reader.aclose()


async def test_a_relay_that_stops_hands_over_and_a_settled_partition_has_no_lease(
    settings: Settings, redis_client: redis.asyncio.Redis, partition: PartitionId
) -> None:
    reader = create_reader(settings.redis)
    leases = Leases(reader, LONG_MILLISECONDS)
    config = RelayConfig(lease_milliseconds=LONG_MILLISECONDS)
    relay = Relay(reader, EventProducer(settings.event_log), config)
    try:
        await relay._lead([partition])
        assert await leases.take([partition]) == {}
        await relay.give_up()
        assert list(await leases.take([partition])) == [partition]
        await redis_client.flushall()
        assert await leases.take([partition]) == {}
        assert await leases.note({}) == set()
        await leases.take_over(partition)
        assert await redis_client.keys() == []
    finally:
        await reader.aclose()


@pytest.mark.parametrize("bounds", [{"lease_milliseconds": 0}, {"renew_milliseconds": 0}])
def test_bounds_that_are_none_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="relay"):
        RelayConfig(**bounds)


def test_no_two_relays_have_one_name() -> None:
    assert owner_name() != owner_name()
