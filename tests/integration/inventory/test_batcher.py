"""The batcher and its connections under cancelled callers, cut connections and wrong replies.

Judged each time: invariants 2 (nothing vanishes, nothing appears by itself), 8 (no unit stranded)
and 10 (an answer is its caller's own).
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis.asyncio
import uvloop

from config.settings import RedisSettings
from config.stack.redis import RedisServer
from gateway.inventory.batcher import BatcherBounds, ReserveBatcher
from gateway.inventory.errors import Overloaded, Recovering, UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.specs import ItemSpec, Money, SaleSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import AskedLines, Reservation, ReservationState, ReserveRequest
from tests.support.network.proxy import FaultyProxy
from tests.support.sales.partitions import (
    FINGERPRINT,
    ONE_UNIT,
    one_item,
    open_sale,
    open_store,
    token_of,
)
from tests.support.servers import patient_redis
from tests.support.waiting import WAIT_SECONDS, wait_until

CANCELLED_TASKS = 10_000
CUT_CONNECTIONS = 2_000
STOCK = 3_000


def through(proxy: FaultyProxy, **changes: Any) -> RedisSettings:
    return patient_redis(f"redis://127.0.0.1:{proxy.port}/0", **changes)


def new_batcher(store: ReservationStore, **bounds: int) -> ReserveBatcher:
    return ReserveBatcher(store, BatcherBounds(max_queue_seconds=WAIT_SECONDS, **bounds))


def many_items(count: int) -> SaleSpec:
    return SaleSpec(
        items=tuple(
            ItemSpec(sku=f"sku-{number:03}", price=Money(100, "EUR"), stock=100)
            for number in range(1, count + 1)
        )
    )


def all_lines(count: int) -> AskedLines:
    """One unit of each of the first items."""
    return AskedLines(tuple(value for n in range(1, count + 1) for value in (n, 0, 1)))


async def reserve(batcher: ReserveBatcher, partition: PartitionId, buyer: str) -> ReserveReply:
    number, token = batcher.next_number(), token_of(buyer)
    request = ReserveRequest(number, token, buyer, FINGERPRINT, ONE_UNIT)
    return await batcher.enqueue(partition, request)


async def reserve_until_answered(
    batcher: ReserveBatcher, partition: PartitionId, buyer: str
) -> ReserveReply:
    """What a gateway does with an unknown outcome: ask again with the same id."""

    async def answered() -> ReserveReply | None:
        try:
            return await reserve(batcher, partition, buyer)
        except (UnknownOutcome, Recovering):
            return None

    return await wait_until(answered, f"{buyer} is answered")


def check_own(reply: ReserveReply, buyer: str) -> None:
    if isinstance(reply.detail, Reservation):
        assert reply.detail.buyer_id == buyer
        assert reply.detail.token == token_of(buyer)
    else:
        assert reply.outcome == "sold_out"


async def check_nothing_stranded(
    store: ReservationStore, partition: PartitionId, answers: dict[str, ReserveReply]
) -> None:
    """Every unit that left `available` belongs to a buyer who finds it by asking again."""
    snapshot = await store.snapshot(partition)
    account = snapshot.accounts[0]
    held_by_buyers = [
        buyer for buyer, reply in answers.items() if isinstance(reply.detail, Reservation)
    ]
    assert account.loaded == account.available + account.held
    assert account.held == len(held_by_buyers) == snapshot.reservations
    assert account.available == 0  # there was demand for all of it
    found = [
        reservation
        for chunk in range(0, len(held_by_buyers), 1000)
        for reservation in await store.read(
            partition, [token_of(buyer) for buyer in held_by_buyers[chunk : chunk + 1000]]
        )
    ]
    for buyer, reservation in zip(held_by_buyers, found, strict=True):
        assert reservation is not None
        assert reservation.buyer_id == buyer
        assert reservation.state == ReservationState.HELD


async def cancelled_callers(settings: RedisSettings, sale_id: str, seed: int) -> None:
    dice = random.Random(seed)
    async with open_store(settings) as (pool, store):
        partition = await open_sale(store, sale_id, one_item(STOCK))
        batcher = new_batcher(store, max_batch=64, max_in_flight=CANCELLED_TASKS)
        buyers = [f"buyer-{number}" for number in range(CANCELLED_TASKS)]

        async def hang_up_sometime(buyer: str) -> None:
            task = asyncio.ensure_future(reserve(batcher, partition, buyer))
            for _ in range(dice.randrange(6)):
                await asyncio.sleep(0)
            if dice.random() < 0.8:
                task.cancel()
            with suppress(asyncio.CancelledError):  # the buyer left
                check_own(await task, buyer)

        for start in range(0, CANCELLED_TASKS, 500):
            await asyncio.gather(*map(hang_up_sometime, buyers[start : start + 500]))
        await batcher.drain()
        assert batcher.in_flight == 0
        answers = {buyer: await reserve(batcher, partition, buyer) for buyer in buyers}
        for buyer, reply in answers.items():
            check_own(reply, buyer)
        assert pool.misrouted_replies == 0
        await check_nothing_stranded(store, partition, answers)


@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_cancelled_callers_never_shift_replies(
    redis_url: str, sale_id: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    def run(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(scenario)

    run(cancelled_callers(patient_redis(redis_url), sale_id, seed))


async def test_cut_connections_strand_nothing(
    redis_server: RedisServer, redis_url: str, sale_id: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with (
        FaultyProxy(redis_server.port) as proxy,
        open_store(patient_redis(redis_url)) as (_, direct),
        open_store(through(proxy, connections=4)) as (pool, store),
    ):
        partition = await open_sale(direct, sale_id, one_item(STOCK))
        batcher = new_batcher(store, max_batch=16)
        answers: dict[str, ReserveReply] = {}
        waiting = [f"buyer-{number}" for number in range(2 * STOCK)]

        async def shop() -> None:
            while waiting:
                buyer = waiting.pop()
                answers[buyer] = await reserve_until_answered(batcher, partition, buyer)
                check_own(answers[buyer], buyer)

        async def cut_often() -> None:
            while proxy.cuts < CUT_CONNECTIONS:
                # Not while all connections are away: nobody would have asked anything between cuts.
                await wait_until(lambda: pool.connected, "a connection is back")
                await asyncio.sleep(dice.uniform(0, 0.004))
                proxy.cut()
                if not waiting:
                    waiting.extend(dice.sample(list(answers), 200))  # they ask again

        cutter = asyncio.ensure_future(cut_often())
        while not cutter.done() or waiting:
            await asyncio.gather(*(shop() for _ in range(50)))
            await asyncio.sleep(0)
        await cutter
        assert proxy.cuts >= CUT_CONNECTIONS
        assert pool.misrouted_replies == 0
        await check_nothing_stranded(direct, partition, answers)


async def test_the_last_units_buyer_who_lost_the_reply_finds_it_on_the_other_worker(
    redis_server: RedisServer, redis_url: str, sale_id: str
) -> None:
    async with (
        FaultyProxy(redis_server.port) as proxy,
        open_store(patient_redis(redis_url)) as (_, other_store),
        open_store(through(proxy, connections=1)) as (_, store),
    ):
        partition = await open_sale(other_store, sale_id, one_item(1))
        proxy.hold_replies()
        lost = asyncio.ensure_future(reserve(new_batcher(store), partition, "ada"))

        async def taken() -> bool:
            return (await other_store.snapshot(partition)).accounts[0].held == 1

        await wait_until(taken, "the unit is held")
        proxy.cut()
        with pytest.raises(UnknownOutcome):
            await lost
        other_worker = new_batcher(other_store)
        assert (await reserve(other_worker, partition, "bob")).outcome == "sold_out"
        retry = await reserve(other_worker, partition, "ada")
        assert retry.outcome == "replayed"
        check_own(retry, "ada")


async def test_a_reply_that_is_not_its_callers_drops_the_connection(
    redis_server: RedisServer, redis_url: str, sale_id: str
) -> None:
    async with (
        FaultyProxy(redis_server.port) as proxy,
        open_store(patient_redis(redis_url)) as (_, direct),
        open_store(through(proxy, connections=1)) as (pool, store),
    ):
        partition = await open_sale(direct, sale_id, one_item(10))
        batcher = new_batcher(store)
        first = await reserve(batcher, partition, "ada")
        forged = _envelope_of(first)
        proxy.inject_reply(b"$%d\r\n%s\r\n" % (len(forged), forged))
        with pytest.raises(UnknownOutcome):
            await reserve(batcher, partition, "bob")
        assert pool.misrouted_replies == 1
        answer = await reserve_until_answered(batcher, partition, "bob")
        assert answer.outcome == "replayed"  # the call had gone through
        check_own(answer, "bob")


def _envelope_of(reply: ReserveReply) -> bytes:
    return msgspec.msgpack.encode(["ok", 1, 0, 0, [reply]])


async def test_a_server_that_goes_silent_is_given_up_and_asked_again(
    redis_server: RedisServer, redis_url: str, sale_id: str
) -> None:
    async with (
        FaultyProxy(redis_server.port) as proxy,
        open_store(patient_redis(redis_url)) as (_, direct),
        open_store(through(proxy, connections=1, socket_timeout_seconds=0.2)) as (pool, store),
    ):
        partition = await open_sale(direct, sale_id, one_item(10))
        batcher = new_batcher(store)
        await wait_until(lambda: pool.connected, "it is connected")
        proxy.hold_replies()
        with pytest.raises(UnknownOutcome):
            await reserve(batcher, partition, "ada")
        proxy.pass_replies()
        answer = await reserve_until_answered(batcher, partition, "ada")
        assert answer.outcome == "replayed"


async def test_a_lost_script_cache_costs_nobody_anything(
    redis_url: str, redis_client: redis.asyncio.Redis, sale_id: str
) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(10))
        batcher = new_batcher(store)
        for buyer in ("ada", "bob", "cleo"):
            await redis_client.script_flush()
            assert (await reserve(batcher, partition, buyer)).outcome == "accepted"
        assert (await store.snapshot(partition)).accounts[0].held == 3


async def test_past_the_bound_nothing_is_sent(redis_url: str, sale_id: str) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(10))
        batcher = new_batcher(store, max_in_flight=5)
        outcomes = await asyncio.gather(
            *(reserve(batcher, partition, f"buyer-{number}") for number in range(8)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 3
        assert (await store.snapshot(partition)).accounts[0].held == 5
        assert (await reserve(batcher, partition, "late")).outcome == "accepted"


async def test_simultaneous_requests_share_a_call(redis_url: str, sale_id: str) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await open_sale(store, sale_id, one_item(100))
        batcher = new_batcher(store, max_batch=50)
        await asyncio.gather(*(reserve(batcher, partition, f"b-{n}") for n in range(100)))
        assert batcher.batches == 2


async def test_a_call_is_bounded_by_the_lines_of_its_requests(redis_url: str, sale_id: str) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await open_sale(store, sale_id, many_items(64))
        batcher = new_batcher(store, max_batch=128, max_lines=64)

        async def reserve_lines(buyer: str, lines: int) -> str:
            number, asked = batcher.next_number(), all_lines(lines)
            request = ReserveRequest(number, token_of(buyer), buyer, FINGERPRINT, asked)
            return (await batcher.enqueue(partition, request)).outcome

        sizes = (64, 32, 32, 1, 63, 1)  # four calls: 64, 32 + 32, 1 + 63, 1
        outcomes = await asyncio.gather(
            *(reserve_lines(f"buyer-{number}", lines) for number, lines in enumerate(sizes))
        )
        assert set(outcomes) == {"accepted"}
        assert batcher.batches == 4


async def test_a_request_with_more_lines_than_a_call_goes_out_alone(
    redis_url: str, sale_id: str
) -> None:
    async with open_store(patient_redis(redis_url)) as (_, store):
        partition = await open_sale(store, sale_id, many_items(3))
        batcher = new_batcher(store, max_lines=2)
        number, asked = batcher.next_number(), all_lines(3)
        request = ReserveRequest(number, token_of("ada"), "ada", FINGERPRINT, asked)
        assert (await batcher.enqueue(partition, request)).outcome == "accepted"


async def test_without_a_server_nothing_is_promised(redis_server: RedisServer) -> None:
    async with FaultyProxy(redis_server.port) as proxy:
        gone = through(proxy, connections=1)
    async with open_store(gone) as (pool, store):
        assert not pool.connected
        with pytest.raises(Recovering):
            await reserve(new_batcher(store), PartitionId("nowhere", 0), "ada")
