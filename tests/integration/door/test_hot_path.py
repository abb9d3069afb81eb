"""The hot path answers exactly as the general way does, and keeps the order of a connection.

A path spelled with an escaped letter is the same resource and goes the general way, so every
request can be sent both ways.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from config.settings import Settings
from gateway.admission.passes import Passes
from gateway.api.door.hot_path import HotProtocol
from tests.support.api import Api, token_of
from tests.support.sales.admissions import FAR_MS, passes_for
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until

HOT = "/v1/sales/{}/reservations"
GENERAL = "/v1/sales/{}/reservation%73"
VOLATILE_HEADERS = {"date", "x-request-id", "retry-after"}
VOLATILE_MEMBERS = {
    "request_id",
    "reservation_id",
    "order_id",
    "expires_at",
    "event_id",
    "buyer_id",
}
ONE_SHIRT = b'{"lines":[{"sku":"shirt","quantity":1}]}'


@dataclass(frozen=True)
class Answer:
    """A response off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def lasting(self) -> tuple[int, dict[str, str], object]:
        """The parts of the answer that must not depend on the way taken."""
        headers = {k: v for k, v in self.headers.items() if k not in VOLATILE_HEADERS}
        body = msgspec.json.decode(self.body)
        if isinstance(body, dict):
            body = {k: v for k, v in body.items() if k not in VOLATILE_MEMBERS}
            headers.pop("content-length")  # ids differ in length
            headers.pop("location", None)
        return self.status, headers, body


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request on an idle connection: whether the hot path took it."""
    seen: list[bool] = []
    take = HotProtocol._take

    def watched(self: HotProtocol, waiter: asyncio.Future[None]) -> bool:
        seen.append(take(self, waiter))
        return seen[-1]

    monkeypatch.setattr(HotProtocol, "_take", watched)
    return seen


def request(
    path: str, body: bytes = ONE_SHIRT, *, buyer: str = "ada", method: str = "POST", **changes: str
) -> bytes:
    """The bytes of a reserve; a header given as empty is left out."""
    headers = {
        "Host": "localhost",
        "Authorization": f"Bearer {token_of('buyer', buyer)}",
        "Content-Type": "application/json",
        "Idempotency-Key": "key",
        "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    return f"{method} {path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(WAIT_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(head[0].split()[1]), headers, body)


class Connection:
    """A raw connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> Answer:
        self.writer.write(data)
        return await read_answer(self.reader)

    async def ended(self) -> bool:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.reader.read(1) == b""


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.gateway.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


BOTH_WAYS = {
    "accepted": {},
    "no token": {"Authorization": ""},
    "forged token": {"Authorization": "Bearer a.b.c"},
    "scope ops": {"Authorization": f"Bearer {token_of('ops', 'ops')}"},
    "no key": {"Idempotency_Key": ""},
    "bad key": {"Idempotency_Key": '"open'},
    "wrong type": {"Content_Type": "text/plain"},
    "compressed": {"Content_Encoding": "gzip"},
    "own request id": {"X_Request_Id": "mine"},
    "asked to close": {"Connection": "close"},
}
BODIES = {
    "broken": b"{",
    "empty": b"",
    "unknown field": b'{"lines":[{"sku":"shirt","quantity":1}],"gift":true}',
    "unknown sku": b'{"lines":[{"sku":"boat","quantity":1}]}',
    "no lines": b'{"lines":[]}',
    "not a number": b'{"lines":[{"sku":"shirt","quantity":NaN}]}',
    "too many": b'{"lines":[{"sku":"shirt","quantity":5}]}',
    "sold out": b'{"lines":[{"sku":"cap","location":"south","quantity":3}]}',
    "foreign buyer": b'{"lines":[{"sku":"shirt","quantity":1}],"buyer_id":"eve"}',
    "two lines": b'{"lines":[{"sku":"shirt","quantity":1},{"sku":"cap","quantity":1}]}',
    "too large": b'{"lines":[' + b" " * 9000 + b"]}",
}


@pytest.mark.parametrize("case", [*BOTH_WAYS, *BODIES])
async def test_both_ways_answer_alike(api: Api, settings: Settings, case: str) -> None:
    body, changes = BODIES.get(case, ONE_SHIRT), BOTH_WAYS.get(case, {})
    buyers = ("ada",) if case == "asked to close" else ("ada", "ada", "bob")
    told = []
    for way in (HOT, GENERAL):  # a sale each, so that both find the same stock and no key used
        sale = await api.open_sale()
        async with connect(settings) as connection:
            answers = [
                await connection.ask(request(way.format(sale), body, buyer=buyer, **changes))
                for buyer in buyers
            ]
        told.append([repr(answer.lasting).replace(sale, "SALE") for answer in answers])
    assert told[0] == told[1]


ADMISSIONS: dict[str, Callable[[Passes], str]] = {
    "none": lambda _: "",
    "another buyer's": lambda passes: passes.admission("eve", 7, FAR_MS),
    "altered": lambda passes: passes.admission("ada", 7, FAR_MS)[:-1] + "!",
    "a ticket": lambda passes: passes.ticket("ada", 7),
    "ended": lambda passes: passes.admission("ada", 7, 1),
    "own": lambda passes: passes.admission("ada", 7, FAR_MS),
}


@pytest.mark.parametrize("case", ADMISSIONS)
async def test_admissions_are_judged_alike(api: Api, settings: Settings, case: str) -> None:
    told = []
    for way in (HOT, GENERAL):
        sale = await api.open_sale(waiting_room={"max_active_buyers": 9, "admission_seconds": 60})
        shown = ADMISSIONS[case](await passes_for(settings, sale))
        path = way.format(sale)
        async with connect(settings) as connection:
            answers = [await connection.ask(request(path, Admission_Token=shown))]
            answers.append(
                await connection.ask(request(path, Idempotency_Key="b", Admission_Token=shown))
            )
            answers.append(await connection.ask(request(path)))
        told.append([repr(answer.lasting).replace(sale, "SALE") for answer in answers])
        statuses = [answer.status for answer in answers]
        assert statuses == ([201, 403, 201] if case == "own" else [403, 403, 403])
    assert told[0] == told[1]


async def test_states_of_a_sale_are_told_alike(api: Api, settings: Settings) -> None:
    told = []
    for way in (HOT, GENERAL):
        sale = await api.open_sale()
        path = way.format(sale)
        async with connect(settings) as connection:
            answers = [await connection.ask(request(path, Idempotency_Key="early"))]
            for verb in ("pause", "resume", "close"):
                assert (await api.ops("POST", f"/v1/sales/{sale}/{verb}")).status == 200
                answers.append(await connection.ask(request(path, Idempotency_Key=verb)))
                answers.append(await connection.ask(request(path, Idempotency_Key="early")))
                assert answers[-1].headers["idempotent-replayed"] == "true"
            answers.append(await connection.ask(request(way.format("nowhere"))))
        told.append([repr(answer.lasting).replace(sale, "SALE") for answer in answers])
    assert told[0] == told[1]


async def test_the_hot_path_takes_what_it_is_for_and_nothing_else(
    api: Api, settings: Settings, taken: list[bool]
) -> None:
    sale = await api.open_sale()
    hot = HOT.format(sale)
    async with connect(settings) as connection:

        async def is_taken() -> bool:  # not before the sale has been read
            taken.clear()
            assert (await connection.ask(request(hot))).status == 201
            return taken == [True]

        await wait_until(is_taken, "the hot path takes it")
        assert (await connection.ask(request(GENERAL.format(sale)))).status == 201
        assert (await connection.ask(request(f"/v1/sales/{sale}", b"", method="GET"))).status == 200
        assert (await connection.ask(request(hot, b"{" + b" " * 9000))).status == 413
        assert taken == [True, False, False, False]
    async with connect(settings) as connection:
        data = request(hot)
        connection.writer.write(data[:-10])
        await connection.writer.drain()
        connection.writer.write(data[-10:])
        assert (await read_answer(connection.reader)).status == 201


async def test_pipelined_requests_are_answered_in_order(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    ids = [unique("r") for _ in range(60)]
    async with connect(settings) as connection:
        for number, request_id in enumerate(ids):
            way = (HOT, GENERAL)[number % 3 == 0]
            path = f"/v1/sales/{sale}" if number % 5 == 0 else way.format(sale)
            method, body = ("GET", b"") if number % 5 == 0 else ("POST", ONE_SHIRT)
            connection.writer.write(
                request(path, body, method=method, X_Request_Id=request_id, buyer=f"b-{number % 7}")
            )
            if number % 4 == 0:
                await asyncio.sleep(0)  # some arrive while an answer is on its way
        answers = [await read_answer(connection.reader) for _ in ids]
    assert [answer.headers["x-request-id"] for answer in answers] == ids


async def test_a_caller_who_leaves_early_disturbs_nobody(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    for number in range(50):
        async with connect(settings) as connection:
            connection.writer.write(request(HOT.format(sale), buyer=f"gone-{number}"))
    async with connect(settings) as connection:
        answer = await connection.ask(request(HOT.format(sale), buyer="gone-1"))
        assert answer.status in {201, 409}

    async def alone() -> bool:
        return b"dropgate_http_in_flight 1.0" in (await api.call("GET", "/metrics")).raw

    await wait_until(alone, "only the request that asks is in flight")


async def test_a_closing_answer_closes(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    async with connect(settings) as connection:
        answer = await connection.ask(request(HOT.format(sale), Connection="close"))
        assert answer.status == 201
        assert await connection.ended()
