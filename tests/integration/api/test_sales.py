import asyncpg
import msgspec
import pytest

from config.settings import Settings
from tests.support.api import Api, sale_body
from tests.support.servers import unique
from tests.support.waiting import wait_until


async def audit_rows(settings: Settings, sale: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        rows = await connection.fetch(
            "SELECT action, actor FROM audit_log WHERE sale_id = $1 ORDER BY audit_id", sale
        )
    finally:
        await connection.close()
    return [(row["action"], row["actor"]) for row in rows]


async def test_a_draft_is_made_replaced_and_versioned(api: Api, sale_id: str) -> None:
    path = f"/v1/sales/{sale_id}"
    made = await api.ops("PUT", path, sale_body())
    assert (made.status, made.headers["Location"], made.headers["ETag"]) == (201, path, '"1"')
    assert (made.body["state"], made.body["version"]) == ("draft", 1)
    assert made.body["hold_seconds"] == 600
    replaced = await api.ops("PUT", path, sale_body(opens_at="2099-01-01T10:00:00+01:00"))
    assert (replaced.status, replaced.body["version"]) == (200, 2)
    assert replaced.body["state"] == "scheduled"
    assert replaced.body["opens_at"] == "2099-01-01T09:00:00.000Z"
    stale = await api.ops("PUT", path, sale_body(), If_Match='"1"')
    assert (stale.told, stale.body["version"]) == ((412, "version_mismatch"), 2)
    fresh = await api.ops("PUT", path, sale_body(), If_Match='"2"')
    assert (fresh.status, fresh.body["state"], fresh.body["version"]) == (200, "draft", 3)
    nothing = await api.ops("PUT", f"{path}-x", sale_body(), If_Match='"1"')
    assert nothing.told == (412, "version_mismatch")


async def test_defaults_are_those_of_the_contract(api: Api, sale_id: str) -> None:
    item = {"sku": "s", "price": {"amount": 5, "currency": "EUR"}, "stock": 1}
    made = await api.ops("PUT", f"/v1/sales/{sale_id}", {"items": [item]})
    body = made.body
    assert (body["hold_seconds"], body["per_buyer_limit"], body["partitions"]) == (600, 1, 1)
    assert (body["opens_at"], body["closes_at"], body["paused_skus"]) == (None, None, [])


async def test_a_sale_keeps_how_its_waiting_room_lets_buyers_in(api: Api, sale_id: str) -> None:
    room = {"max_active_buyers": 50, "admission_seconds": 300}
    made = await api.ops("PUT", f"/v1/sales/{sale_id}", sale_body(waiting_room=room))
    assert made.body["waiting_room"] == room | {"prequeue_at": None, "order": "fifo"}
    drawn = room | {"prequeue_at": "2099-01-01T10:00:00+01:00", "order": "draw"}
    sale = sale_body(opens_at="2099-01-01T09:30:00Z", waiting_room=drawn)
    replaced = await api.ops("PUT", f"/v1/sales/{sale_id}", sale)
    assert replaced.body["waiting_room"] == drawn | {"prequeue_at": "2099-01-01T09:00:00.000Z"}


async def test_a_sale_goes_through_its_states(api: Api, sale_id: str, settings: Settings) -> None:
    path = f"/v1/sales/{sale_id}"
    await api.ops("PUT", path, sale_body())
    for verb in ("pause", "resume", "close", "settle"):
        refused = await api.ops("POST", f"{path}/{verb}")
        assert (refused.told, refused.body["state"]) == ((409, "invalid_state"), "draft")
    stale = await api.ops("POST", f"{path}/open", If_Match='"7"')
    assert stale.told == (412, "version_mismatch")
    steps = (("open", "open"), ("pause", "paused"), ("resume", "open"), ("close", "closed"))
    for version, (verb, state) in enumerate(steps, start=2):
        for _ in range(2):  # repeating is 200 and changes nothing
            done = await api.ops("POST", f"{path}/{verb}")
            assert (done.status, done.body["state"]) == (200, state)
            assert done.body["version"] == version
            assert done.headers["ETag"] == f'"{version}"'
        snapshot = await api.ops("GET", f"{path}/snapshot")
        assert snapshot.body["partitions"][0]["state"] == state
        if verb == "open":
            replaced = await api.ops("PUT", path, sale_body())
            assert replaced.told == (409, "invalid_state")
    for verb in ("open", "pause", "resume"):
        assert (await api.ops("POST", f"{path}/{verb}")).told == (409, "invalid_state")
    assert await audit_rows(settings, sale_id) == [
        ("sale_created", "operator"),
        ("sale_open", "operator"),
        ("sale_pause", "operator"),
        ("sale_resume", "operator"),
        ("sale_close", "operator"),
    ]


async def test_a_paused_sale_still_resolves_what_it_promised(api: Api) -> None:
    sale = await api.open_sale()
    held = [await api.held(sale, f"buyer-{n}") for n in range(2)]
    await api.ops("POST", f"/v1/sales/{sale}/pause")
    assert (await api.reserve(sale, "late", "k")).told == (409, "sale_not_open")
    path = f"/v1/reservations/{held[0]}/confirm"
    assert (await api.storefront("POST", path, {"payment_reference": "p"})).status == 200
    path = f"/v1/reservations/{held[1]}/cancel"
    assert (await api.buyer("buyer-1", "POST", path)).status == 200


async def test_one_item_is_paused_alone(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/items"
    for _ in range(2):
        done = await api.ops("POST", f"{path}/shirt/pause")
        assert (done.status, done.body["paused_skus"]) == (200, ["shirt"])
    refused = await api.reserve(sale, "b", "k1", ("shirt", 1))
    assert (refused.told, refused.body["sku"]) == ((409, "sale_not_open"), "shirt")
    assert (await api.reserve(sale, "b", "k2", ("cap", 1))).status == 201
    done = await api.ops("POST", f"{path}/shirt/resume")
    assert (done.status, done.body["paused_skus"]) == (200, [])
    assert (await api.reserve(sale, "b", "k1", ("shirt", 1))).status == 201
    assert (await api.ops("POST", f"{path}/unknown/pause")).told == (404, "not_found")


async def test_stock_is_adjusted_down_to_the_floor(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/stock-adjustments"
    await api.held(sale, "b", ("shirt", 4))
    more = await api.ops("POST", path, {"sku": "shirt", "delta": 5, "reason": "found"})
    assert (more.status, more.body["available"], more.body["held"]) == (201, 11, 4)
    less = await api.ops("POST", path, {"sku": "shirt", "delta": -12, "reason": "lost"})
    assert less.told == (409, "floor_violation")
    numbers = {name: less.body[name] for name in ("available", "held", "sold", "floor", "delta")}
    assert numbers == {"available": 11, "held": 4, "sold": 0, "floor": 0, "delta": -12}
    for body in (
        {"sku": "shirt", "delta": 0, "reason": "r"},
        {"sku": "shirt", "delta": 1.5, "reason": "r"},
        {"sku": "shirt", "delta": 1, "reason": ""},
        {"sku": "unknown", "delta": 1, "reason": "r"},
        {"sku": "cap", "delta": 1, "reason": "which location?"},
        {"sku": "cap", "delta": 1, "reason": "r", "location": "west"},
        {"sku": "shirt", "delta": 10**9 + 1, "reason": "r"},
        {"sku": "shirt", "delta": 10**9, "reason": "beyond the largest stock"},
    ):
        told = (await api.ops("POST", path, body)).told
        assert told == (422, "invalid"), body
    exact = await api.ops("POST", path, {"sku": "shirt", "delta": -11, "reason": "lost"})
    assert (exact.status, exact.body["available"]) == (201, 0)
    placed = {"sku": "cap", "delta": 2, "reason": "r", "location": "south"}
    assert (await api.ops("POST", path, placed)).body["available"] == 7
    actions = [action for action, _ in await audit_rows(settings, sale)]
    assert "stock_adjustment_asked" in actions
    await api.ops("POST", f"/v1/sales/{sale}/close")
    closed = await api.ops("POST", path, {"sku": "shirt", "delta": 1, "reason": "late"})
    assert closed.told == (409, "invalid_state")


async def test_a_snapshot_obeys_the_identity(api: Api) -> None:
    sale = await api.open_sale()
    held = await api.held(sale, "b", ("shirt", 2), ("cap", 2))
    await api.storefront("POST", f"/v1/reservations/{held}/confirm", {"payment_reference": "p"})
    await api.held(sale, "b", ("shirt", 1))
    snapshot = await api.ops("GET", f"/v1/sales/{sale}/snapshot")
    assert snapshot.body["items"] == [
        {
            "sku": "shirt",
            "loaded": 10,
            "adjusted": 0,
            "transferred": 0,
            "in_transit": 0,
            "available": 7,
            "held": 1,
            "sold": 2,
        },
        {
            "sku": "cap",
            "loaded": 5,
            "adjusted": 0,
            "transferred": 0,
            "in_transit": 0,
            "available": 3,
            "held": 0,
            "sold": 2,
        },
    ]
    assert snapshot.body["partitions"] == [
        {"partition": 0, "epoch": 1, "sequence": 5, "state": "open"}
    ]


async def test_the_public_page_is_coarse_and_cacheable(api: Api, sale_id: str) -> None:
    path = f"/v1/sales/{sale_id}"
    await api.ops("PUT", path, sale_body())
    draft = await api.call("GET", path)
    assert (draft.status, draft.body["state"]) == (200, "draft")
    await api.ops("POST", f"{path}/open")
    shown = await api.call("GET", path)
    assert shown.body["state"] == "open"
    assert shown.headers["Cache-Control"].startswith("public")
    assert [item["availability"] for item in shown.body["items"]] == ["plenty", "plenty"]
    assert b"available" not in shown.raw
    tag = shown.headers["ETag"]
    same = await api.call("GET", path, headers={"If-None-Match": f"W/{tag}"})
    assert (same.status, same.raw, same.headers["ETag"]) == (304, b"", tag)
    # A tag from here is good for If-Match: it has the version in it.
    assert (await api.ops("POST", f"{path}/pause", If_Match=tag)).status == 200
    assert (await api.ops("POST", f"{path}/resume", If_Match=tag)).told == (
        412,
        "version_mismatch",
    )
    await api.ops("POST", f"{path}/resume")
    for buyer in range(3):
        await api.held(sale_id, f"buyer-{buyer}", ("shirt", 3))

    async def availability() -> list[str]:
        body = (await api.call("GET", path)).body
        return [item["availability"] for item in body["items"]]

    async def is_low() -> bool:
        return await availability() == ["low", "plenty"]

    async def is_gone() -> bool:
        return await availability() == ["none", "plenty"]

    await wait_until(is_low)
    await api.held(sale_id, "buyer-3")
    await wait_until(is_gone)


async def test_a_change_made_by_another_process_is_seen(api: Api, settings: Settings) -> None:
    sale = await api.open_sale()
    assert (await api.call("GET", f"/v1/sales/{sale}")).body["state"] == "open"
    connection = await asyncpg.connect(settings.postgres.dsn)
    await connection.execute(
        "UPDATE sales SET state = 'paused', version = version + 1 WHERE sale_id = $1", sale
    )
    await connection.execute("SELECT pg_notify('dropgate_sales', $1)", sale)
    await connection.close()

    async def paused() -> bool:
        return bool((await api.call("GET", f"/v1/sales/{sale}")).body["state"] == "paused")

    await wait_until(paused)


async def test_the_description_of_the_api_is_whole(api: Api) -> None:
    document = (await api.call("GET", "/openapi.json")).body
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert "post" in paths["/v1/sales/{sale}/reservations"]
    assert set(paths["/v1/sales/{sale}"]) == {"get", "put"}
    names = set(document["components"]["schemas"])
    text = msgspec.json.encode(document).decode()
    for reference in text.split('"$ref":"#/components/schemas/')[1:]:
        assert reference.split('"')[0] in names
    page = await api.call("GET", "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"/v1/sales/{sale}/reservations" in page.raw


async def test_health_and_metrics(api: Api) -> None:
    assert (await api.call("GET", "/livez")).status == 200
    ready = await api.call("GET", "/readyz")
    assert ready.body["durability"] == "fsync"
    assert (ready.body["redis"], ready.body["postgres"]) == ("up", "up")
    sale = await api.open_sale()
    await api.held(sale, "b")
    await api.reserve(sale, "b", "k", ("shirt", 99))
    text = (await api.call("GET", "/metrics")).raw.decode()
    for sample in (
        'dropgate_reservations_total{outcome="accepted"} 1.0',
        'dropgate_reservations_total{outcome="limit_exceeded"} 1.0',
        'dropgate_http_requests_total{route="reserve",status="2xx"} 1.0',
        'dropgate_http_request_seconds_count{route="reserve"} 2.0',
        "dropgate_http_in_flight 1.0",
        f'dropgate_outbox_length{{partition="0",sale="{sale}"}} 3.0',
        f'dropgate_ledger_lag_events{{partition="0",sale="{sale}"}} 3.0',
        f'dropgate_due_holds{{partition="0",sale="{sale}"}} 0.0',
        'dropgate_gauges_up{part="redis"} 1.0',
    ):
        assert sample in text, sample
    assert f'dropgate_ledger_lag_seconds{{partition="0",sale="{sale}"}}' in text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"])
async def test_system_calls_answer_head(api: Api, path: str) -> None:
    assert (await api.call("HEAD", path)).status == 200


@pytest.mark.parametrize("prequeue", [None, "2098-12-31T00:00:00Z"])
async def test_a_sale_opened_before_its_time_is_open(api: Api, prequeue: str | None) -> None:
    sale, changes = unique("early"), dict[str, object](opens_at="2099-01-01T00:00:00Z")
    if prequeue is not None:
        changes["waiting_room"] = {
            "max_active_buyers": 5, "admission_seconds": 60, "prequeue_at": prequeue,
        }  # fmt: skip
    assert (await api.ops("PUT", f"/v1/sales/{sale}", sale_body(**changes))).status == 201
    opened = (await api.ops("POST", f"/v1/sales/{sale}/open")).body
    assert (opened["state"], opened["opens_at"] < "2099") == ("open", True)
    if prequeue is None:
        assert (await api.reserve(sale, "buyer", "key")).status == 201
    else:
        assert opened["waiting_room"]["prequeue_at"] is None
        assert (await api.buyer("buyer", "POST", f"/v1/sales/{sale}/queue")).status == 200


def many_items(count: int, locations: int = 1) -> list[dict[str, object]]:
    stock = {f"place-{number}": 5 for number in range(locations)}
    price = {"amount": 100, "currency": "EUR"}
    return [{"sku": f"sku-{n:04}", "price": price, "locations": stock} for n in range(count)]


async def test_a_sale_of_a_thousand_items_opens_and_sells(api: Api) -> None:
    sale = await api.open_sale(items=many_items(1000))
    last = "sku-0999"
    reservation_id = await api.held(sale, "ann", (last, 1), ("sku-0000", 1))
    snapshot = await api.ops("GET", f"/v1/sales/{sale}/snapshot")
    held = {item["sku"]: item["held"] for item in snapshot.body["items"] if item["held"]}
    assert held == {last: 1, "sku-0000": 1}
    assert reservation_id.startswith(sale)


@pytest.mark.parametrize(
    ("count", "locations", "said"),
    [(1001, 1, "1000"), (501, 2, "at most 1000 pairs"), (1, 401, "at most 400 locations")],
)
async def test_a_sale_beyond_the_bounds_is_refused(
    api: Api, sale_id: str, count: int, locations: int, said: str
) -> None:
    body = sale_body(items=many_items(count, locations))
    refused = await api.ops("PUT", f"/v1/sales/{sale_id}", body)
    assert refused.told == (422, "invalid")
    assert said in refused.raw.decode()
