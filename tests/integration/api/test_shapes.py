"""What is not a request of the contract is refused before it reaches Redis, never with a 500."""

import asyncio
import base64
import time

import jwt
import msgspec
import pytest
import redis.asyncio

from config.settings import Settings
from tests.support.api import Api, sale_body, token_of
from tests.support.servers import SECRET
from tests.support.waiting import WAIT_SECONDS

BUYER = token_of("buyer", "buyer-1")
GOOD = b'{"lines":[{"sku":"shirt","quantity":1}]}'
JSON = {"Content-Type": "application/json", "Idempotency-Key": "key"}
ROOM = {"max_active_buyers": 1, "admission_seconds": 60}


def line(quantity: str) -> bytes:
    return b'{"lines":[{"sku":"shirt","quantity":%s}]}' % quantity.encode()


def of_sku(sku: str) -> bytes:
    return b'{"lines":[{"sku":%s,"quantity":1}]}' % sku.encode()


MALFORMED = [
    b"",
    b"{",
    b"nonsense",
    GOOD[:-1],
    GOOD + b"x",
    line("NaN"),
    line("Infinity"),
    line("01"),
    b'{"lines":[{"sku":"\xff\xfe","quantity":1}]}',
    b'{"lines":[{"sku":"\\ud800","quantity":1}]}',
    b"\xef\xbb\xbf" + GOOD,
]
INVALID = [
    b"null",
    b"[]",
    b"{}",
    b"1",
    b'{"lines":[]}',
    b'{"lines":{}}',
    b'{"lines":[1]}',
    b'{"lines":[{"sku":"shirt"}]}',
    b'{"lines":[{"quantity":1}]}',
    b'{"lines":[{"sku":"shirt","quantity":1,"price":1}]}',
    b'{"lines":[{"sku":"shirt","quantity":1}],"state":"confirmed"}',
    b'{"lines":[{"sku":"shirt","quantity":1,"location":"nowhere"}]}',
    b'{"lines":[{"sku":"shirt","quantity":1,"location":7}]}',
    b'{"lines":[{"sku":"shirt","quantity":1}],"buyer_id":"somebody-else"}',
    b'{"lines":[{"sku":"shirt","quantity":1}],"buyer_id":7}',
    b'{"lines":[%s]}' % b",".join([b'{"sku":"shirt","quantity":1}'] * 65),
    line("0"),
    line("-1"),
    line("-5"),
    line("1.0"),
    line("1.5"),
    line("1e3"),
    line('"1"'),
    line("true"),
    line("null"),
    line("[1]"),
    line("1000000001"),
    line("99999999999999999999999"),
    of_sku('"unknown"'),
    of_sku('"shirt\\n"'),
    of_sku('"shirt\\u0000"'),
    of_sku('""'),
    of_sku('"' + "s" * 65 + '"'),
    of_sku('"sh irt"'),
    of_sku("7"),
    b"[" * 4000,
]


async def outbox_length(settings: Settings, sale: str) -> int:
    client = redis.asyncio.Redis.from_url(settings.redis.url, protocol=2)
    length: int = await client.xlen(f"{{{sale}:0}}:outbox")
    await client.aclose()
    return length


async def post(api: Api, sale: str, data: bytes, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/v1/sales/{sale}/reservations"
    return (await api.call("POST", path, token=BUYER, data=data, headers=JSON | named)).told


async def test_bad_bodies_are_refused_and_move_nothing(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    before = await outbox_length(settings, sale)
    for body in MALFORMED:
        assert await post(api, sale, body) == (400, "malformed"), body
    for body in INVALID:
        assert await post(api, sale, body) == (422, "invalid"), body
    assert await outbox_length(settings, sale) == before


async def test_the_media_type_must_be_json(api: Api) -> None:
    sale = await api.open_sale()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        told = await post(api, sale, GOOD, Content_Type=media_type)
        assert told == (415, "unsupported_media_type")
    told = await post(api, sale, GOOD, Content_Encoding="gzip")
    assert told == (415, "unsupported_media_type")
    spelled = JSON | {"Content-Type": "application/json; charset=UTF-8"}
    path = f"/v1/sales/{sale}/reservations"
    assert (await api.call("POST", path, token=BUYER, data=GOOD, headers=spelled)).status == 201


async def test_a_large_body_is_drained_and_refused(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.api.contract.bodies.BODY_TIMEOUT_SECONDS", WAIT_SECONDS)
    sale = await api.open_sale()
    most = settings.gateway.max_body_bytes
    fits = GOOD + b" " * (most - len(GOOD))
    path = f"/v1/sales/{sale}/reservations"
    assert (await api.call("POST", path, token=BUYER, data=fits, headers=JSON)).status == 201
    for size in (most + 1, 100_000, 1_000_000):
        assert await post(api, sale, GOOD + b" " * (size - len(GOOD))) == (413, "too_large")

    async def pieces() -> object:
        for _ in range(100):
            yield b" " * 1000

    streamed = await api.call("POST", path, token=BUYER, data=pieces(), headers=JSON)
    assert streamed.told == (413, "too_large")


async def test_a_body_that_does_not_come_is_given_up(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    reader, writer = await asyncio.open_connection(settings.gateway.host, settings.gateway.port)
    head = (
        f"POST /v1/sales/{sale}/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        f"Authorization: Bearer {BUYER}\r\nIdempotency-Key: k\r\n"
        "Content-Type: application/json\r\n\r\n{"
    )
    writer.write(head.encode())
    async with asyncio.timeout(WAIT_SECONDS):
        answer = await reader.read()  # to its end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    writer.close()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, (400, "idempotency_key_required")),
        ("", (400, "idempotency_key_required")),
        ('""', (400, "malformed")),
        ('"open', (400, "malformed")),
        ("with space", (400, "malformed")),
        ('"with space"', (400, "malformed")),
        ("k" * 256, (400, "malformed")),
        ('"' + "k" * 256 + '"', (400, "malformed")),
        ("schlüssel", (400, "malformed")),
    ],
)
async def test_bad_keys(api: Api, key: str | None, told: tuple[int, str]) -> None:
    sale = await api.open_sale()
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    path = f"/v1/sales/{sale}/reservations"
    assert (await api.call("POST", path, token=BUYER, data=GOOD, headers=headers)).told == told


async def test_a_key_may_have_255_characters_quoted_or_bare(api: Api) -> None:
    sale = await api.open_sale()
    bare = await api.reserve(sale, "buyer-1", "!" * 255)
    quoted = await api.reserve(sale, "buyer-1", '"' + "!" * 255 + '"')
    assert (bare.status, quoted.status) == (201, 201)
    assert quoted.headers["Idempotent-Replayed"] == "true"


def wrong_tokens() -> list[str | None]:
    def made(key: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
        good = {"sub": "b", "aud": "dropgate", "exp": time.time() + 60, "scope": "buyer"}
        return jwt.encode(good | claims, key, algorithm=algorithm)

    good = made()
    return [
        None,
        "garbage",
        "a.b.c",
        good[:-2],
        good + "A",
        good.rsplit(".", 1)[0] + ".",
        made(key="another-secret-of-at-least-32-bytes!!"),
        made(key="", algorithm="none"),
        made(key=SECRET * 2, algorithm="HS512"),
        made(exp=time.time() - 3600),
        made(nbf=time.time() + 3600),
        made(aud="elsewhere"),
        made(scope="root"),
        made(sub=""),
        made(sub="x" * 129),
        made(sub="line\nbreak"),
    ]


async def test_wrong_tokens_come_before_everything_else(api: Api) -> None:
    sale = await api.open_sale()
    for token in wrong_tokens():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        path = f"/v1/sales/{sale}/reservations"
        reply = await api.call("POST", path, data=b"nonsense", headers=headers)
        assert reply.told == (401, "unauthenticated"), token
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    basic = await api.call("GET", "/v1/orders", headers={"Authorization": "Basic YTpi"})
    assert basic.told == (401, "unauthenticated")


async def test_the_scope_comes_before_the_shape(api: Api) -> None:
    sale = await api.open_sale()
    operator = token_of("ops", "operator")
    for token, method, path in (
        (operator, "POST", f"/v1/sales/{sale}/reservations"),
        (BUYER, "POST", f"/v1/reservations/{sale}.0.x/confirm"),
        (BUYER, "POST", f"/v1/reservations/{sale}.0.x/returns"),
        (BUYER, "PUT", f"/v1/sales/{sale}"),
        (BUYER, "POST", f"/v1/sales/{sale}/open"),
        (BUYER, "GET", f"/v1/sales/{sale}/snapshot"),
        (BUYER, "POST", f"/v1/sales/{sale}/stock-adjustments"),
        (BUYER, "POST", f"/v1/sales/{sale}/reconciliations"),
        (BUYER, "GET", "/v1/dead-letters"),
        (operator, "POST", f"/v1/reservations/{sale}.0.x/cancel"),
        (operator, "POST", f"/v1/reservations/{sale}.0.x/extend"),
    ):
        reply = await api.call(method, path, token=token, data=b"nonsense")
        assert reply.told == (403, "forbidden"), path


async def test_other_bodies_are_as_strict(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'b')}"
    wrong: dict[str, list[object]] = {
        "confirm": [
            {},
            {"payment_reference": ""},
            {"payment_reference": "p" * 256},
            {"payment_reference": "é" * 200},
            {"payment_reference": "a\nb"},
            {"payment_reference": "p", "lines": []},
            {"payment_reference": "p", "lines": [{"sku": "unknown", "quantity": 1}]},
            {"payment_reference": "p", "more": 1},
        ],
        "extend": [{}, {"seconds": 0}, {"seconds": 1.0}, {"seconds": -5}, {"seconds": 10**9}],
        "cancel": [{"force": True}, []],
        "returns": [{}, {"restock": 1, "reason": "r"}, {"restock": True, "reason": ""}],
    }
    for call, bodies in wrong.items():
        for body in bodies:
            reply = await api.storefront("POST", f"{path}/{call}", body, Idempotency_Key="k")
            assert reply.told == (422, "invalid"), (call, body)
    shown = await api.buyer("b", "GET", path)
    assert shown.body["state"] == "held"


async def test_sales_that_cannot_be(api: Api, sale_id: str) -> None:
    path = f"/v1/sales/{sale_id}"
    item = {"sku": "s", "price": {"amount": 1, "currency": "EUR"}, "stock": 1}
    dear = item | {"price": {"amount": 10**8, "currency": "EUR"}}
    for body in (
        sale_body(items=[]),
        sale_body(partitions=2),
        sale_body(waiting_room={"max_active_buyers": 1}),
        sale_body(waiting_room=ROOM | {"max_active_buyers": 0}),
        sale_body(waiting_room=ROOM | {"order": "lifo"}),
        sale_body(waiting_room=ROOM | {"prequeue_at": "2027-01-01T00:00:00"}),
        sale_body(
            opens_at="2027-01-01T00:00:00Z",
            waiting_room=ROOM | {"prequeue_at": "2027-01-01T00:00:00Z"},
        ),
        sale_body(hold_seconds=0),
        sale_body(unpaid_per_buyer=0),
        sale_body(unpaid_window_seconds=-1),
        sale_body(unpaid_window_seconds=604_801),
        sale_body(cooldown={"after": 0, "seconds": 1}),
        sale_body(cooldown={"after": 1, "seconds": 60, "seconds_max": 30}),
        sale_body(hold_seconds=1.5),
        sale_body(unknown=1),
        sale_body(opens_at="2027-01-01T00:00:00"),
        sale_body(opens_at="2027-01-02T00:00:00Z", closes_at="2027-01-01T00:00:00Z"),
        sale_body(items=[item, item]),
        sale_body(items=[item | {"stock": -1}]),
        sale_body(items=[item | {"stock": 10**9 + 1}]),
        sale_body(items=[item | {"sku": "s\n"}]),
        sale_body(items=[item | {"sku": "s:t"}]),
        sale_body(items=[item | {"locations": {"n": 1}}]),
        sale_body(items=[item | {"floor": 2}]),
        sale_body(items=[item | {"price": {"amount": 1, "currency": "eur"}}]),
        sale_body(items=[item | {"price": {"amount": -1, "currency": "EUR"}}]),
        sale_body(items=[item | {"name": "a\u0000b"}]),
        sale_body(items=[dear], per_buyer_limit=10**9),
    ):
        assert (await api.ops("PUT", path, body)).told == (422, "invalid"), body
    for name in ("UPPER", "under_score", "-dash", "x" * 65):
        assert (await api.ops("PUT", f"/v1/sales/{name}", sale_body())).told == (422, "invalid")
    assert (await api.call("GET", path)).told == (404, "not_found")


async def test_a_query_says_one_thing_and_nothing_else(api: Api) -> None:
    far = {"created_at": "0001-01-01T00:00:00+23:59", "identifier": "x"}
    cursors = [
        base64.urlsafe_b64encode(msgspec.json.encode(each)).decode()
        for each in (far, list(far.values()), 7)
    ]
    for query in (
        *(
            "buyer_id=b&buyer_id=b",
            "buyer_id=b&more=1",
            "buyer_id=other",
            "buyer_id=",
            "cursor=%00",
        ),
        *(f"cursor={cursor}" for cursor in (*cursors, "nonsense", "a")),
    ):
        told = (await api.buyer("b", "GET", f"/v1/orders?{query}")).told
        assert told == (422, "invalid"), query
    for path in ("/v1/dead-letters", "/v1/audit-log", "/v1/sales"):
        assert (await api.ops("GET", f"{path}?cursor=")).status == 200
        for query in ("cursor=1&cursor=1", "cursor=x", "more=1", f"cursor={cursors[1]}"):
            assert (await api.ops("GET", f"{path}?{query}")).told == (422, "invalid"), query


async def test_an_empty_if_match_is_no_condition_left_out(api: Api) -> None:
    sale = await api.open_sale()
    for tag in ("", "2", "W/", '"x"', '"1", "2"'):
        told = (await api.ops("POST", f"/v1/sales/{sale}/pause", If_Match=tag)).told
        assert told == (412, "version_mismatch"), tag
    assert (await api.ops("POST", f"/v1/sales/{sale}/pause", If_Match="*")).status == 200


async def test_what_is_not_there(api: Api) -> None:
    for path in ("/v1", "/v1/nothing", "/v1/sales/", "/v1/sales/none", "/v1/sales/%00"):
        assert (await api.call("GET", path)).told == (404, "not_found"), path
    refused = await api.call("DELETE", "/v1/sales/none")
    assert refused.told == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "GET, HEAD, PUT"
    assert (await api.reserve("none", "b", "k")).told == (404, "not_found")
    for call in ("open", "pause", "resume", "close", "settle", "reconciliations"):
        assert (await api.ops("POST", f"/v1/sales/none/{call}")).told == (404, "not_found"), call
    assert (await api.ops("GET", "/v1/sales/none/snapshot")).told == (404, "not_found")


async def test_a_sane_request_id_is_kept(api: Api) -> None:
    for given, kept in (("abc-1.2:3", True), ("x" * 65, False), ("a b", False), ("ü", False)):
        reply = await api.call("GET", "/v1/nothing", headers={"X-Request-Id": given})
        assert (reply.headers["X-Request-Id"] == given) is kept
        assert reply.body["request_id"] == reply.headers["X-Request-Id"]


async def raw(settings: Settings, request: bytes) -> bytes:
    """What the gateway says to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(settings.gateway.host, settings.gateway.port)
    writer.write(request)
    async with asyncio.timeout(WAIT_SECONDS):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 10_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_problem_too(settings: Settings, request_bytes: bytes) -> None:
    head, _, body = (await raw(settings, request_bytes)).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"X-Request-Id: " in head
    assert b"application/problem+json" in head
    assert b'"code":"malformed"' in body


async def test_a_body_is_asked_for_where_the_caller_waits(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.api.contract.bodies.BODY_TIMEOUT_SECONDS", WAIT_SECONDS)
    sale = await api.open_sale()
    reader, writer = await asyncio.open_connection(settings.gateway.host, settings.gateway.port)
    head = (
        f"POST /v1/sales/{sale}/reservations HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {len(GOOD)}\r\nAuthorization: Bearer {BUYER}\r\n"
        "Idempotency-Key: k\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(WAIT_SECONDS):
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"HTTP/1.1 100 ")
        writer.write(GOOD)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 201 ")
    writer.close()
