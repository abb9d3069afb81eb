"""What a caller may do to a connection: each ends in bounded time and memory, others unharmed.

A gateway process with short bounds is attacked over raw sockets from one address, while a buyer
at another goes on reserving. Every attack is over when its connection has been refused or closed;
the times here are deadlines, not expectations.
"""

import asyncio
import shutil
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest
import pytest_asyncio

from config.client import make_token
from tests.support.api import Api, sale_body
from tests.support.network.raw_http import RawConnection, raw_connection, raw_request
from tests.support.servers import unique
from tests.support.up import PATIENT, Up
from tests.support.waiting import WAIT_SECONDS, wait_until

ATTACKER = "127.0.0.2"
# One address alone does not press the gateway into closing idle connections early.
MAX_CONNECTIONS, MAX_PER_ADDRESS = 400, 200
KEEPALIVE_SECONDS = 10.0
DROP_SECONDS = 0.05
# Far below what keeping any one of the attacks in memory would take.
GROWTH_MAX_BYTES = 96 * 2**20
ONE_SHIRT = b'{"lines":[{"sku":"shirt","quantity":1}]}'
ENVIRONMENT = {
    **PATIENT,
    "DROPGATE_GATEWAY__HEAD_TIMEOUT_SECONDS": "1",
    "DROPGATE_GATEWAY__UNREAD_TIMEOUT_SECONDS": "1",
    "DROPGATE_GATEWAY__KEEPALIVE_TIMEOUT_SECONDS": str(KEEPALIVE_SECONDS),
    "DROPGATE_GATEWAY__MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    "DROPGATE_GATEWAY__MAX_CONNECTIONS_PER_ADDRESS": str(MAX_PER_ADDRESS),
}


@dataclass
class Target:
    """The gateway under attack, and the buyer who must not notice."""

    up: Up
    port: int
    sale: str
    secret: str
    reserved: int = 0

    @property
    def path(self) -> str:
        """Where reservations are made."""
        return f"/v1/sales/{self.sale}/reservations"

    def token(self, scope: str, subject: str) -> str:
        """A token for the gateway."""
        return make_token(
            self.secret, scope=scope, subject=subject, audience="dropgate", life_seconds=3600
        )

    def reserve(self, buyer: str = "attacker", body: bytes = ONE_SHIRT, **headers: str) -> bytes:
        """The bytes of a reserve."""
        named = {
            "Authorization": f"Bearer {self.token('buyer', buyer)}",
            "Idempotency_Key": "key",
        }
        return raw_request(self.path, body, **named | headers)

    def resident_bytes(self) -> int:
        """Memory of the worker."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.up.ready.pids["gateway"])

    async def metric(self, line: str, *, without: float | None = None) -> float:
        """The value of one line of /metrics; `without` one, where it may be missing."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/metrics") as response,
        ):
            for found in (await response.text()).splitlines():
                if found.startswith(line + " "):
                    return float(found.split()[-1])
        assert without is not None, f"no metric {line}"
        return without

    @asynccontextmanager
    async def unharmed(self) -> AsyncIterator[None]:
        """While the block runs, and after it, another buyer reserves; memory stays flat."""
        before = self.resident_bytes()
        stop = asyncio.Event()
        buyer = asyncio.create_task(self._buy(stop))
        try:
            yield
            already = self.reserved
            await wait_until(
                lambda: buyer.done() or self.reserved > already + 10,
                "the other buyer goes on",
            )
        finally:
            stop.set()
            await buyer
        assert self.resident_bytes() - before < GROWTH_MAX_BYTES

    async def _buy(self, stop: asyncio.Event) -> None:
        buyer = unique("buyer")
        while not stop.is_set():
            used_at = time.monotonic()
            async with raw_connection(self.port) as connection:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    while not stop.is_set():
                        sent_at = time.monotonic()
                        if not connection.send(self.reserve(buyer)):
                            break
                        answer = await connection.answer()
                        assert answer.status == 201, answer
                        self.reserved += 1
                        used_at, buyer = sent_at, unique("buyer")
                        await asyncio.sleep(0.005)
            # Only a connection that was idle for too long may end: the request is sent again.
            assert stop.is_set() or time.monotonic() - used_at >= KEEPALIVE_SECONDS


@pytest_asyncio.fixture(scope="module")
async def target() -> AsyncIterator[Target]:
    """A gateway of this module's own, with a sale that does not sell out."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-hard-"))
    up = Up(folder, environment=ENVIRONMENT)
    try:
        ready = await up.start()
        made = Target(up, urlsplit(ready.gateway).port or 0, unique("hard"), ready.auth_secret)
        async with aiohttp.ClientSession() as session:
            api = Api(session, ready.gateway)
            token, path = made.token("ops", "ops"), f"/v1/sales/{made.sale}"
            price = {"amount": 1, "currency": "EUR"}
            body = sale_body(items=[{"sku": "shirt", "price": price, "stock": 10**6}])
            assert (await api.call("PUT", path, token=token, json=body)).status == 201
            assert (await api.call("POST", f"{path}/open", token=token)).status == 200
        yield made
    finally:
        await up.clean()
        shutil.rmtree(folder, ignore_errors=True)


async def ends(connection: RawConnection) -> bytes:
    """What the attacker receives before the gateway ends the connection."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await connection.everything()


async def drip(connection: RawConnection, drops: Callable[[], bytes]) -> None:
    """Send a few bytes at a time until the gateway has ended the connection."""
    async with asyncio.timeout(WAIT_SECONDS):
        going_on = True
        while going_on:
            await asyncio.sleep(DROP_SECONDS)
            going_on = connection.send(drops())


@asynccontextmanager
async def many(target: Target, number: int) -> AsyncIterator[list[RawConnection]]:
    """Connections of the attacker."""
    async with AsyncExitStack() as parts:
        opened = [
            parts.enter_async_context(raw_connection(target.port, ATTACKER)) for _ in range(number)
        ]
        yield await asyncio.gather(*opened)


async def test_heads_that_come_in_drops(target: Target) -> None:
    async with target.unharmed(), many(target, 100) as connections:
        for connection in connections:
            connection.send(b"POST /v1/sales/x/reservations HTTP/1.1\r\nHost: x\r\nX-Drop: ")
        drips = [drip(connection, lambda: b"x") for connection in connections]
        told = await asyncio.gather(*map(ends, connections), *drips)
        for said in told[: len(connections)]:
            assert said is not None
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request_timeout"' in said
    assert await target.metric('dropgate_connections_ended_total{reason="head"}') >= 100


async def test_a_head_without_end(target: Target) -> None:
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        # Too much in one drop: else the time for a head may end first.
        lines = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 3000) for number in range(11))
        flood = drip(connection, lambda: lines)
        said, _ = await asyncio.gather(ends(connection), flood)
        assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


async def test_bodies_that_come_in_drops(target: Target) -> None:
    async with target.unharmed(), many(target, 100) as connections:
        for number, connection in enumerate(connections):
            if number % 2:
                connection.send(target.reserve(Content_Length="5000")[: -len(ONE_SHIRT)])
            else:
                head = target.reserve(Transfer_Encoding="chunked")[: -len(ONE_SHIRT)]
                connection.send(head.replace(b"Content-Length: 40\r\n", b""))
        drips = [
            drip(connection, lambda number=number: b" " if number % 2 else b"1\r\n \r\n")  # type: ignore[misc]
            for number, connection in enumerate(connections)
        ]
        told = await asyncio.gather(*map(ends, connections), *drips)
        for said in told[: len(connections)]:
            assert said is not None
            assert said.startswith(b"HTTP/1.1 408 "), said


async def test_answers_nobody_reads(target: Target) -> None:
    async with target.unharmed():
        before = await target.metric('dropgate_connections_ended_total{reason="unread"}')
        async with many(target, 20) as connections:
            page = raw_request("/docs", method="GET") * 50
            for connection in connections:
                connection.writer.transport.pause_reading()  # type: ignore[attr-defined]

            async def push(connection: RawConnection) -> None:
                """Ask until the gateway has dropped the connection."""
                while not connection.writer.is_closing():
                    connection.writer.write(page)
                    try:
                        async with asyncio.timeout(0.1):
                            await connection.writer.drain()
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        return

            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.gather(*map(push, connections))
        after = await target.metric('dropgate_connections_ended_total{reason="unread"}')
        assert after - before >= len(connections)


async def test_ten_thousand_pipelined_requests(target: Target) -> None:
    number = 10_000

    async def push(connection: RawConnection) -> None:
        requests = target.reserve() * 100
        for _ in range(number // 100):
            connection.send(requests)
            await connection.writer.drain()

    async def take(connection: RawConnection) -> None:
        for _ in range(number):
            assert (await connection.answer()).status == 201

    async def all_are_answered() -> bool:
        """False where requests were read so slowly that the gateway ended the connection."""
        async with raw_connection(target.port, ATTACKER) as connection:
            try:
                await asyncio.gather(push(connection), take(connection))
            except (ConnectionError, asyncio.IncompleteReadError):
                return False
        return True

    async with target.unharmed():
        await wait_until(all_are_answered, "all are answered")


@pytest.mark.parametrize("announced", [True, False])
async def test_giant_bodies(target: Target, announced: bool) -> None:
    part = b" " * 65536
    if announced:
        head = target.reserve(Content_Length=str(10 * 2**30))[: -len(ONE_SHIRT)]
    else:
        head = target.reserve(Content_Length=None, Transfer_Encoding="chunked")  # type: ignore[arg-type]
        head, part = head[: -len(ONE_SHIRT)], b"10000\r\n" + part + b"\r\n"
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(head)

        async def push() -> None:
            try:
                while connection.send(part):
                    await connection.writer.drain()
            except ConnectionError:
                return

        said, _ = await asyncio.wait_for(asyncio.gather(ends(connection), push()), WAIT_SECONDS)
        assert said.startswith(b"HTTP/1.1 413 ")


async def test_a_gzip_bomb_is_not_inflated(target: Target) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(512)) + packer.flush()
    assert len(bomb) < 2**20
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        for body in (bomb, bomb[:8000]):
            connection.send(target.reserve(body=body, Content_Encoding="gzip"))
            assert (await connection.answer()).status in {413, 415}
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        encoded = target.reserve(body=b"", Content_Length=None, Transfer_Encoding="gzip, chunked")  # type: ignore[arg-type]
        connection.send(encoded + b"1000\r\n" + bomb[:4096] + b"\r\n0\r\n\r\n")
        assert (await connection.answer()).status in range(400, 500)


def head(*lines: bytes, start: bytes = b"GET /livez HTTP/1.1") -> bytes:
    """A request of these lines."""
    return b"\r\n".join([start, *lines, b"", b""])


HOST = b"Host: x"
POST = b"POST /livez HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
NOT_HTTP = {
    "two hosts": head(HOST, b"Host: y"),
    "two equal hosts": head(HOST, HOST),
    "no host": head(),
    "length and chunked": head(HOST, b"Content-Length: 4", CHUNKED, start=POST) + b"0\r\n\r\n",
    "chunked and length": head(HOST, CHUNKED, b"Content-Length: 4", start=POST) + b"0\r\n\r\n",
    "two lengths": head(HOST, b"Content-Length: 4", b"Content-Length: 5", start=POST) + b"12345",
    "list of lengths": head(HOST, b"Content-Length: 4, 5", start=POST) + b"12345",
    "signed length": head(HOST, b"Content-Length: +4", start=POST) + b"1234",
    "hexadecimal length": head(HOST, b"Content-Length: 0x4", start=POST) + b"1234",
    "huge length": head(HOST, b"Content-Length: " + b"9" * 40, start=POST),
    "chunked twice": head(HOST, b"Transfer-Encoding: chunked, chunked", start=POST) + b"0\r\n\r\n",
    "unknown coding": head(HOST, b"Transfer-Encoding: xchunked", start=POST) + b"0\r\n\r\n",
    "nul in a value": head(HOST, b"X-Nul: a\0b"),
    "nul in a name": head(HOST, b"X-\0Nul: a"),
    "folded header": head(HOST, b"X-Folded: a", b" b"),
    "space before the colon": head(HOST, b"Content-Length : 4", start=POST) + b"1234",
    "bare carriage return": head(HOST, b"X-Bare: a\rb"),
    "no version": head(HOST, start=b"GET /livez"),
    "version two": head(HOST, start=b"GET /livez HTTP/2.0"),
    "long request line": head(HOST, start=b"GET /" + b"x" * 20_000 + b" HTTP/1.1"),
    "long header": head(HOST, b"X-Long: " + b"x" * 20_000),
    "many headers": head(HOST, *(b"X-%d: x" % number for number in range(1000))),
    "not http at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
}


@pytest.mark.parametrize("case", NOT_HTTP)
async def test_what_is_not_http_is_refused(target: Target, case: str) -> None:
    """One answer, 400, and the connection ends: nothing after it is taken for a request."""
    smuggled = head(HOST, start=b"GET /smuggled HTTP/1.1")
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(NOT_HTTP[case] + smuggled)
        said = await ends(connection)
        assert said[:8] in {b"HTTP/1.1", b"HTTP/1.0"}, said
        assert said[9:12] == b"400", said
        assert said.count(b"HTTP/1.") == 1, said


BAD_CHUNKS = {
    "no number": b"x\r\nabc\r\n0\r\n\r\n",
    "negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "longer than announced": b"2\r\nabc\r\n0\r\n\r\n",
    "without line end": b"3\r\nabc0\r\n\r\n",
    "number too long": b"f" * 40 + b"\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"x" * 200_000 + b"\r\nabc\r\n0\r\n\r\n",
    "endless trailer": b"0\r\n" + b"X-Trailer: x\r\n" * 20_000 + b"\r\n",
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
async def test_bad_chunks_are_refused(target: Target, case: str) -> None:
    request = target.reserve(body=b"", Content_Length=None, Transfer_Encoding="chunked")  # type: ignore[arg-type]
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(request + BAD_CHUNKS[case])
        assert (await connection.answer()).status in range(400, 500)
        await ends(connection)


async def test_a_body_shorter_than_its_length_waits_for_nobody(target: Target) -> None:
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(target.reserve(Content_Length="400"))
        assert (await ends(connection)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_longer_than_its_length_is_no_request(target: Target) -> None:
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(target.reserve(Content_Length="38"))
        said = await ends(connection)
        assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


async def test_what_follows_an_upgrade_is_bounded(target: Target) -> None:
    async with target.unharmed(), raw_connection(target.port, ATTACKER) as connection:
        connection.send(head(HOST, b"Connection: upgrade", b"Upgrade: websocket"))

        async def push() -> None:
            try:
                while connection.send(b"x" * 65536):
                    await connection.writer.drain()
            except ConnectionError:
                return

        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(ends(connection), push())


async def test_connections_of_one_address_are_bounded(target: Target) -> None:
    async def the_rest_is_refused() -> bool:
        """False where connections came so slowly that the first was idle for too long."""
        async with many(target, MAX_PER_ADDRESS + 20) as connections:
            # No connection ever sends a request: the gateway ends all.
            told = await asyncio.gather(*map(ends, connections))
        refused = [said for said in told if said]
        for said in refused:
            assert said.startswith(b"HTTP/1.1 429 ")
            assert b"Retry-After: " in said
            assert b'"code":"rate_limited"' in said
        return len(refused) == 20

    async with target.unharmed():
        await wait_until(the_rest_is_refused, "all above the bound are refused")
        assert await target.metric('dropgate_connections_ended_total{reason="address"}') >= 20


async def test_idle_connections_make_room(target: Target) -> None:
    """Full of idle connections from many addresses, the gateway is open to newcomers again."""
    pressed = 'dropgate_connections_ended_total{reason="pressed"}'
    before = await target.metric(pressed, without=0)

    async def served() -> bool:
        try:
            async with raw_connection(target.port, "127.0.0.3") as connection:
                connection.send(raw_request("/livez", method="GET"))
                answer = await connection.answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
        assert answer.status == 200 or answer.headers["retry-after"]
        return answer.status == 200

    async def room_was_made() -> bool:
        """False where connections came so slowly that the first was idle for too long."""
        async with AsyncExitStack() as parts:
            crowd = [
                parts.enter_async_context(raw_connection(target.port, f"127.0.1.{n % 100 + 1}"))
                for n in range(MAX_CONNECTIONS)
            ]
            await asyncio.gather(*crowd)
            await wait_until(served, "a newcomer is served")
            return await target.metric(pressed, without=0) > before

    await wait_until(room_was_made, "idle connections made room")

    async def gone() -> bool:
        return await target.metric("dropgate_connections") < 10

    await wait_until(gone, "the connections are gone")
