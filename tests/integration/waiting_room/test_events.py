"""The place in line as Server-Sent Events, from a real gateway."""

import aiohttp
import msgspec
import pytest

from config.settings import Settings, WaitingRoomSettings
from tests.support.api import Api, serving
from tests.support.waiting_room.events import StreamEvent, joined, listening
from tests.support.waiting_room.places import NARROW_ROOM

HEARTBEAT_SECONDS = 0.2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Few streams, and heartbeats that come soon."""
    room = WaitingRoomSettings(streams_max=2, heartbeat_seconds=HEARTBEAT_SECONDS)
    return settings.model_copy(update={"waiting_room": room})


async def test_a_stream_tells_the_place_and_then_the_turn(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first, second = await joined(api, sale, "buyer-1"), await joined(api, sale, "buyer-2")
    async with listening(api, sale, "buyer-2", second) as stream:
        told = await stream.read()
        assert told is not None
        assert (told.answer.state, told.answer.position) == ("waiting", 2)
        await api.buyer("buyer-1", "DELETE", f"/v1/sales/{sale}/queue", Queue_Ticket=first)
        while told.answer.state == "waiting":
            told = await stream.read()
            assert told is not None
        assert told.answer.state == "admitted"
        assert told.answer.admission_token


async def test_a_stream_that_has_nothing_to_say_beats(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM | {"prequeue_at": "2020-01-01T00:00:00Z"})
    await joined(api, sale, "buyer-1")
    ticket = await joined(api, sale, "buyer-2")
    async with listening(api, sale, "buyer-2", ticket) as stream:
        told = await stream.read(heartbeats=True)
        while told is not None and told.name:
            told = await stream.read(heartbeats=True)
        assert told == StreamEvent()


async def test_who_comes_back_is_not_told_what_they_know(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    await joined(api, sale, "buyer-1")
    second, third = await joined(api, sale, "buyer-2"), await joined(api, sale, "buyer-3")
    async with listening(api, sale, "buyer-3", third) as stream:
        told = await stream.read()
        while told is not None and told.answer.ahead != 1:
            told = await stream.read()  # buyer-1 was called meanwhile
        assert told is not None
    async with listening(api, sale, "buyer-3", third, last=told.identifier) as stream:
        assert await stream.read(heartbeats=True) == StreamEvent()
    async with listening(api, sale, "buyer-2", second, last=told.identifier) as stream:
        other = await stream.read(heartbeats=True)
        assert other is not None
        assert other.answer.position == 2


async def test_a_stream_ends_when_the_sale_does(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    await joined(api, sale, "buyer-1")
    ticket = await joined(api, sale, "buyer-2")
    async with listening(api, sale, "buyer-2", ticket) as stream:
        await api.ops("POST", f"/v1/sales/{sale}/close")
        told = await stream.read()
        while told is not None and told.answer.state != "closed":
            told = await stream.read()
        assert told is not None
        assert await stream.read() is None


async def test_a_stream_says_why_it_ends(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    ticket = await joined(api, sale, "buyer-1")
    async with listening(api, sale, "buyer-1", ticket) as stream:
        told = await stream.read()
        await api.buyer("buyer-1", "DELETE", f"/v1/sales/{sale}/queue")
        while told is not None and told.name == "queue":
            told = await stream.read()
        assert told is not None
        assert msgspec.json.decode(told.data)["code"] == "not_admitted"
        assert await stream.read() is None


async def test_streams_are_bounded_and_what_is_wrong_is_told_before(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    ticket = await joined(api, sale, "buyer-1")
    path = f"/v1/sales/{sale}/queue/events"
    assert (await api.buyer("buyer-1", "GET", path)).told == (422, "invalid")
    foreign = await api.buyer("buyer-2", "GET", path, Queue_Ticket=ticket)
    assert foreign.told == (403, "not_admitted")
    head = await api.buyer("buyer-1", "HEAD", path, Queue_Ticket=ticket)
    assert (head.status, head.raw) == (200, b"")
    async with listening(api, sale, "buyer-1", ticket), listening(api, sale, "buyer-1", ticket):
        third = await api.buyer("buyer-1", "GET", path, Queue_Ticket=ticket)
        assert third.told == (503, "overloaded")


async def test_a_worker_that_stops_ends_its_streams(settings: Settings) -> None:
    async with aiohttp.ClientSession() as session:
        async with serving(settings) as first:
            api = Api(session, first.url)
            sale = await api.open_sale(waiting_room=NARROW_ROOM)
            ticket = await joined(api, sale, "buyer-1")
            listener = listening(api, sale, "buyer-1", ticket)
            stream = await listener.__aenter__()
        told = await stream.read()
        while told is not None:
            told = await stream.read()
        await listener.__aexit__(None, None, None)
