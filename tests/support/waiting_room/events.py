"""A buyer's place in line as a stream of Server-Sent Events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from gateway.api.contract.schemas import QueueAnswer
from tests.support.api import Api, token_of
from tests.support.waiting import WAIT_SECONDS


@dataclass(frozen=True)
class StreamEvent:
    """One event, or a heartbeat (`name` is then empty)."""

    name: str = ""
    identifier: str = ""
    data: bytes = b""

    @property
    def answer(self) -> QueueAnswer:
        """What a `queue` event says."""
        assert self.name == "queue"
        return msgspec.json.decode(self.data, type=QueueAnswer)


class Stream:
    """Reads the events of one connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def read(self, *, heartbeats: bool = False) -> StreamEvent | None:
        """The next event, None at the stream's end; heartbeats only where they are wanted."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                fields: dict[bytes, bytes] = {}
                while line := (await self.response.content.readline()).rstrip(b"\n"):
                    field, _, value = line.partition(b":")
                    fields[field] = value.strip()
                if b"event" in fields:
                    name, identifier = fields[b"event"].decode(), fields.get(b"id", b"").decode()
                    return StreamEvent(name, identifier, fields[b"data"])
                if fields.keys() == {b""} and heartbeats:
                    return StreamEvent()
                if self.response.content.at_eof():
                    return None


@asynccontextmanager
async def listening(
    api: Api, sale: str, buyer: str, ticket: str, last: str = ""
) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {token_of('buyer', buyer)}", "Queue-Ticket": ticket}
    if last:
        headers["Last-Event-ID"] = last
    path = f"{api.url}/v1/sales/{sale}/queue/events"
    async with api.session.get(path, headers=headers) as response:
        assert response.status == 200, await response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response)


async def joined(api: Api, sale: str, buyer: str) -> str:
    answer = await api.buyer(buyer, "POST", f"/v1/sales/{sale}/queue")
    assert answer.status == 200, answer.raw
    return str(answer.body["ticket"])
