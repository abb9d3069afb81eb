"""The pages' files over HTTP, and the demo shop, which nobody may reach by accident."""

import pytest

from config.settings import Settings
from gateway.api.reservations.demo_shop import check_local
from gateway.web.files import web_files
from tests.support.api import Api, serving


async def test_every_file_is_served_under_a_strict_policy(api: Api) -> None:
    for file in web_files():
        reply = await api.call("GET", file.path)
        assert (reply.status, reply.raw) == (200, file.body)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        shared = "Access-Control-Allow-Origin" in reply.headers
        assert shared is file.path.startswith("/client/")
        known = await api.call("GET", file.path, headers={"If-None-Match": reply.headers["ETag"]})
        assert (known.status, known.raw) == (304, b"")


async def test_the_stable_addresses(api: Api) -> None:
    for path in ("/", "/ops", "/client/v1/dropgate.js"):
        assert (await api.call("GET", path)).status == 200
    assert (await api.call("GET", "/web/files.py")).status == 404


async def test_a_gateway_without_pages_has_none(settings: Settings) -> None:
    gateway = settings.gateway.model_copy(update={"pages": False})
    async with serving(settings.model_copy(update={"gateway": gateway})) as api:
        assert (await api.call("GET", "/")).status == 404
        assert (await api.call("GET", "/livez")).status == 200


async def test_there_is_no_demo_shop_unless_asked_for(api: Api) -> None:
    assert (await api.call("POST", "/demo/session")).status == 404
    assert (await api.buyer("a", "POST", "/demo/payments", {"reservation_id": "x"})).status == 404


def demo(settings: Settings) -> Settings:
    gateway = settings.gateway.model_copy(update={"demo_shop": True})
    return settings.model_copy(update={"gateway": gateway})


async def test_a_visitor_pays_for_their_own_hold_once(settings: Settings) -> None:
    async with serving(demo(settings)) as api:
        sale = await api.open_sale()
        session = (await api.call("POST", "/demo/session")).body
        assert session["sale_id"] == sale
        buyer, token = session["buyer_id"], session["token"]
        own = await api.held(sale, buyer)
        body = {"reservation_id": own}
        for _ in range(2):
            paid = await api.call("POST", "/demo/payments", token=token, json=body)
            assert (paid.status, paid.body["state"]) == (200, "confirmed")
            assert paid.body["payment_reference"].startswith("demo-")
        other = {"reservation_id": await api.held(sale, "somebody-else")}
        refused = await api.call("POST", "/demo/payments", token=token, json=other)
        assert refused.told == (404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "shop.example"},
        {"Host": "192.0.2.7:8080"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_who_comes_from_elsewhere_finds_no_demo_shop(
    settings: Settings, headers: dict[str, str]
) -> None:
    async with serving(demo(settings)) as api:
        assert (await api.call("POST", "/demo/session", headers=headers)).status == 404
        assert (await api.call("POST", "/demo/session")).status == 200


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("gateway", "host", "0.0.0.0"),  # noqa: S104 - this is what must be refused
        ("gateway", "host", "gate.example"),
        ("redis", "url", "redis://redis.example:6379/0"),
        ("postgres", "dsn", "postgresql://ledger.example/dropgate"),
    ],
)
async def test_a_demo_shop_does_not_start_beyond_this_machine(
    settings: Settings, section: str, field: str, value: str
) -> None:
    changed = getattr(settings, section).model_copy(update={field: value})
    check_local(settings)
    with pytest.raises(ValueError, match=f"{section}.{field} is not on this machine"):
        check_local(settings.model_copy(update={section: changed}))
