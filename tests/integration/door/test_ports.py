"""A port of the operators' own, and pages of other origins."""

import pytest

from config.settings import Settings
from config.stack.server import free_port
from gateway.admission.tokens import Scope
from gateway.api.contract.endpoints import Endpoint
from gateway.api.description.examples import example_of
from tests.support.api import Api, serving, token_of
from tests.support.endpoints import api_endpoints

SHOP = "https://shop.example"


def with_gateway(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update=changes)})


async def test_operators_have_a_port_of_their_own(settings: Settings) -> None:
    port = free_port()
    async with serving(with_gateway(settings, ops_port=port)) as public:
        operators = Api(public.session, f"http://127.0.0.1:{port}")
        sale = await operators.open_sale()
        reservation = await public.held(sale, "b")
        ops = token_of("ops", "operator")
        for endpoint in api_endpoints():
            if not isinstance(endpoint, Endpoint) or endpoint.path.startswith("/demo/"):
                continue
            path = endpoint.path.format(sale=sale, sku="shirt", id=reservation, buyer="b")
            body = example_of(endpoint.body) if endpoint.body is not None else None
            if endpoint.scopes == (Scope.OPS,):
                told = await public.call(endpoint.method, path, token=ops, json=body)
                # The path may be there for another method: PUT and GET of a sale.
                assert told.status in {404, 405}, (endpoint.method, path)
            elif Scope.OPS in endpoint.scopes:
                told = await public.call(endpoint.method, path, token=ops, json=body)
                assert told.told == (403, "forbidden"), path
                assert (await operators.ops(endpoint.method, path)).status in {200, 422}, path
            else:
                told = await operators.call(endpoint.method, path, token=ops, json=body)
                assert told.status in {404, 405}, path
        assert (await public.call("GET", "/metrics")).told == (404, "not_found")
        assert (await operators.call("GET", "/metrics")).status == 200
        for api in (public, operators):
            for path in ("/livez", "/readyz", "/docs", "/openapi.json", f"/v1/sales/{sale}"):
                assert (await api.call("GET", path)).status == 200, path
        described = (await public.call("GET", "/openapi.json")).body["paths"]
        assert f"{'/v1/sales/{sale}/reservations'}" in described
        assert "put" not in described["/v1/sales/{sale}"]
        described = (await operators.call("GET", "/openapi.json")).body["paths"]
        assert "/v1/sales/{sale}/reservations" not in described
        assert "put" in described["/v1/sales/{sale}"]


async def test_other_origins_are_told_nothing_unless_named(api: Api) -> None:
    sale = await api.open_sale()
    told = await api.call("GET", f"/v1/sales/{sale}", headers={"Origin": SHOP})
    assert "Access-Control-Allow-Origin" not in told.headers
    asked = await api.call("OPTIONS", f"/v1/sales/{sale}", headers={"Origin": SHOP})
    assert asked.told == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "origin", [SHOP, "https://other.example", "https://shop.example.evil", None]
)
async def test_named_origins_may_call_from_a_browser(
    settings: Settings, origin: str | None
) -> None:
    named = with_gateway(settings, cors_origins=f"https://eu.example, {SHOP}")
    sent = {} if origin is None else {"Origin": origin}
    allowed = origin if origin == SHOP else None
    async with serving(named) as api:
        sale = await api.open_sale()
        path = f"/v1/sales/{sale}/reservations"
        wanted = {"Access-Control-Request-Method": "POST"}
        asked = await api.call("OPTIONS", path, headers=sent | wanted)
        assert (asked.status, asked.raw) == (204, b"")
        assert asked.headers["Allow"] == "OPTIONS, POST"
        assert asked.headers.get("Access-Control-Allow-Origin") == allowed
        assert ("Idempotency-Key" in asked.headers.get("Access-Control-Allow-Headers", "")) is bool(
            allowed
        )
        token, json = token_of("buyer", "b"), {"lines": [{"sku": "shirt", "quantity": 1}]}
        for key, status in (("k", 201), ("", 400)):  # the hot path: accepted, refused
            headers = sent | {"Idempotency-Key": key}
            made = await api.call("POST", path, token=token, json=json, headers=headers)
            assert made.status == status
            assert made.headers.get("Access-Control-Allow-Origin") == allowed
            assert made.headers["Vary"] == "Origin"
            assert ("Location" in made.headers.get("Access-Control-Expose-Headers", "")) is bool(
                allowed
            )
        for place in (f"/v1/sales/{sale}", "/v1/orders", "/v1/nothing"):
            shown = await api.call("GET", place, headers=sent)
            assert shown.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Origin" in shown.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in shown.headers
