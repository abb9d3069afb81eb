"""The load's own HTTP client against a server that answers in bits, late, wrongly or never."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loadtest.client.http_client import HttpClient, NoAnswerError
from tests.support.waiting import WAIT_SECONDS

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nRetry-After: 1\r\n%s\r\n"
Answer = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, list[int]]]:
    """Calls `answer(writer, n)` for request n; also how many requests each connection got."""
    connections: list[int] = []
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        mine = len(connections)
        connections.append(0)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                connections[mine] += 1
                total += 1
                await answer(writer, total)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", connections
    finally:
        listening.close()


async def whole(writer: asyncio.StreamWriter, number: int) -> None:
    body = b'{"n":%d}' % number
    writer.write(HEAD % (200, len(body), b"") + body)


async def test_connections_are_used_again_and_never_more_than_allowed() -> None:
    async with server(whole) as (url, connections):
        client = HttpClient(url, 3)
        responses = await asyncio.gather(*(client.request(REQUEST) for _ in range(30)))
        await client.close()
    assert {r.body for r in responses} == {b'{"n":%d}' % n for n in range(1, 31)}
    assert len(connections) <= 3
    assert sum(connections) == 30


async def test_an_answer_may_come_in_pieces() -> None:
    async def piecemeal(writer: asyncio.StreamWriter, _number: int) -> None:
        for byte in HEAD % (409, 4, b"") + b"abcd":
            writer.write(bytes([byte]))
            await writer.drain()

    async with server(piecemeal) as (url, _):
        client = HttpClient(url, 1)
        response = await client.request(REQUEST)
        await client.close()
    assert (response.status, response.body) == (409, b"abcd")
    assert response.has(b"retry-after")
    assert not response.has(b"idempotent-replayed")


async def test_a_closed_connection_is_no_answer_and_the_next_request_gets_another() -> None:
    async def close_first(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            writer.write((HEAD % (200, 100, b""))[:20])
            writer.close()
        else:
            await whole(writer, number)

    async with server(close_first) as (url, connections):
        client = HttpClient(url, 1)
        with pytest.raises(NoAnswerError):
            await client.request(REQUEST)
        assert (await client.request(REQUEST)).body == b'{"n":2}'
        await client.close()
    assert connections == [1, 1]


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 X\r\n\r\n", HEAD % (200, 10**9, b"")])
async def test_what_it_cannot_take_is_no_answer(head: bytes) -> None:
    async def odd(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(head)

    async with server(odd) as (url, _):
        client = HttpClient(url, 1)
        with pytest.raises(NoAnswerError):
            await client.request(REQUEST)
        await client.close()


async def test_connection_close_is_honoured() -> None:
    async def close_after(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(HEAD % (200, 2, b"Connection: close\r\n") + b"{}")

    async with server(close_after) as (url, connections):
        client = HttpClient(url, 1)
        for _ in range(2):
            assert (await client.request(REQUEST)).status == 200
        await client.close()
    assert connections == [1, 1]


async def test_a_cut_request_is_still_delivered() -> None:
    delivered = asyncio.Event()

    async def note(_writer: asyncio.StreamWriter, _number: int) -> None:
        delivered.set()

    async with server(note) as (url, _):
        client = HttpClient(url, 1)
        await client.send_and_cut(REQUEST)
        async with asyncio.timeout(WAIT_SECONDS):
            await delivered.wait()
        await client.close()


async def test_nobody_listening_is_no_answer() -> None:
    async with server(whole) as (url, _):
        pass
    with pytest.raises(NoAnswerError):
        await HttpClient(url, 1).request(REQUEST)
