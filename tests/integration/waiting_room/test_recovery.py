"""A waiting room that loses processes and Redis, and the cost of a poll."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
import redis.asyncio

from config.settings import Settings
from gateway.admission.waiting_room.facts import RoomFacts
from gateway.admission.waiting_room.keys import room_keys
from gateway.admission.waiting_room.room import Room
from gateway.admission.waiting_room.rooms import WaitingRooms
from gateway.admission.waiting_room.store import RoomLost
from gateway.api.ledger.connections import Ledger
from gateway.api.queue.places import RoomFactsReader
from gateway.api.sales.directory import SaleDirectory
from gateway.process.postgres import create_pool
from tests.support.api import Api, serving
from tests.support.sales.partitions import open_store
from tests.support.waiting import wait_until
from tests.support.waiting_room.places import NARROW_ROOM, join, look, place

BUYERS = 3000
MARGIN = 1_000_000


@contextlib.asynccontextmanager
async def worker(settings: Settings, sale: str) -> AsyncIterator[Room]:
    """The waiting room of one more worker, without the HTTP around it."""
    async with open_store(settings.redis) as (pool, store):
        postgres = await create_pool(settings.postgres)
        client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
        directory = SaleDirectory(Ledger(postgres, 2.0), settings.postgres)
        rooms = WaitingRooms(settings, pool, store, client, postgres, RoomFactsReader(directory))
        watch = asyncio.create_task(rooms.watch())
        try:
            facts: RoomFacts = await RoomFactsReader(directory)(sale)
            room = rooms.room(facts)
            await room.seen()
            yield room
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await client.aclose()
            postgres.terminate()


async def waiting_sale(api: Api) -> str:
    """An open sale whose room calls nobody for now."""
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    await place(api, sale, "first")
    return sale


async def test_thousands_of_joins_over_several_workers_are_numbered_without_a_hole(
    api: Api, settings: Settings
) -> None:
    sale = await waiting_sale(api)
    async with worker(settings, sale) as left, worker(settings, sale) as right:
        # Every buyer joins through both workers at once: one number each.
        joins = [room.join(f"buyer-{n}") for n in range(BUYERS) for room in (left, right)]
        numbers = await asyncio.gather(*joins)
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    assert all(one == other for one, other in pairs)
    assert sorted(one for one, _ in pairs) == list(range(2, BUYERS + 2))


async def commands(client: redis.asyncio.Redis) -> dict[str, int]:
    """How often each command was called."""
    stats = await client.info("commandstats")
    return {name: fields["calls"] for name, fields in stats.items()}


async def test_a_thousand_polls_cost_redis_nothing(
    settings: Settings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is read a few times a second however many buyers poll; these settings turn that off."""
    monkeypatch.setattr("gateway.admission.waiting_room.room.STALE_SECONDS", 3600.0)
    rare = settings.waiting_room.model_copy(
        update={"refresh_milliseconds": 3_600_000, "tick_milliseconds": 10**14}
    )
    async with serving(settings.model_copy(update={"waiting_room": rare})) as api:
        sale = await api.open_sale(waiting_room=NARROW_ROOM)
        tickets = [(await place(api, sale, f"buyer-{n}"))["ticket"] for n in range(10)]
        before = await commands(redis_client)
        answers = await asyncio.gather(
            *(look(api, sale, f"buyer-{n % 10}", tickets[n % 10]) for n in range(1000))
        )
        after = await commands(redis_client)
    assert {answer.status for answer in answers} == {200}
    told = {name: calls - before.get(name, 0) for name, calls in after.items()}
    # Reading these figures is a command, too; relay and order writer are not running.
    assert {name for name, calls in told.items() if calls} <= {"cmdstat_info"}


async def test_numbers_survive_the_restart_of_every_worker(settings: Settings) -> None:
    async with serving(settings) as api:
        sale = await waiting_sale(api)
        ticket = (await place(api, sale, "buyer-2"))["ticket"]
    async with serving(settings) as api:
        answer = await look(api, sale, "buyer-2", ticket)
        assert (answer.status, answer.body["position"]) == (200, 2)
        assert (await place(api, sale, "buyer-2"))["position"] == 2
        assert (await place(api, sale, "buyer-3"))["position"] == 3


async def checkpointed(settings: Settings, sale: str) -> int:
    """The last number the ledger has heard of."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        found = await connection.fetchval(
            "SELECT issued FROM waiting_rooms WHERE sale_id = $1", sale
        )
        return int(found)
    finally:
        await connection.close()


async def test_numbers_survive_the_loss_of_redis(
    api: Api, settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    sale = await waiting_sale(api)
    ticket = (await place(api, sale, "buyer-2"))["ticket"]
    third = (await place(api, sale, "buyer-3"))["ticket"]

    async def known() -> bool:
        return await checkpointed(settings, sale) == 3

    await wait_until(known, "the ledger knows the last number")
    keys = room_keys(sale)
    buckets = await redis_client.keys(keys.buyers + b"*")
    await redis_client.delete(keys.meta, keys.gone, *buckets)

    async def again() -> bool:
        answer = await join(api, sale, "buyer-2", Queue_Ticket=ticket)
        return bool(answer.status == 200 and answer.body["position"] == 2)

    await wait_until(again, "the ticket counts again")
    # Another tab without the ticket finds the number its owner has claimed.
    assert (await place(api, sale, "buyer-2"))["position"] == 2

    async def new_numbers() -> bool:
        return (await join(api, sale, "late")).status == 200

    await wait_until(new_numbers, "the ledger knows where numbering goes on")
    late = await place(api, sale, "late")
    assert late["position"] == 3 + MARGIN + 1
    assert (await look(api, sale, "buyer-3", third)).body["position"] == 3
    assert late["ahead"] < 10  # no buyer has a number in the gap


async def test_a_lost_room_is_recovering_and_never_empty(
    settings: Settings, redis_client: redis.asyncio.Redis
) -> None:
    async with serving(settings) as api:
        sale = await waiting_sale(api)
    # The gateway is gone: it would open the room again.
    async with worker(settings, sale) as room:
        await room.stop()
        await redis_client.delete(room_keys(sale).meta)
        with pytest.raises(RoomLost):
            await room.look()


async def called(api: Api, sale: str, buyer: str, ticket: str) -> None:
    """Wait until the buyer has been called; the admission may have ended by then."""

    async def is_called() -> bool:
        answer = await look(api, sale, buyer, ticket)
        if answer.status == 403:
            return bool(answer.body["reason"] == "ended")
        return answer.status == 200 and bool(answer.body["admission_token"])

    await wait_until(is_called, f"{buyer} is called")


async def test_slots_of_workers_that_died_return(settings: Settings) -> None:
    room = {"max_active_buyers": 1, "admission_seconds": 2}
    async with serving(settings) as api:
        sale = await api.open_sale(waiting_room=room)
        first = (await place(api, sale, "buyer-1"))["ticket"]
        second = (await place(api, sale, "buyer-2"))["ticket"]
        await called(api, sale, "buyer-1", first)
    async with serving(settings) as api:
        await called(api, sale, "buyer-2", second)
