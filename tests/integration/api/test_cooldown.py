"""Hoarding over HTTP: who gives holds back repeatedly must wait, and new keys do not help."""

from tests.support.api import Api
from tests.support.waiting import wait_until

COOLDOWN = {"after": 2, "seconds": 60, "seconds_max": 600}


async def give_back(api: Api, sale: str, buyer: str, key: str) -> None:
    made = await api.reserve(sale, buyer, key)
    assert made.status == 201, made.raw
    path = f"/v1/reservations/{made.body['reservation_id']}/cancel"
    assert (await api.buyer(buyer, "POST", path)).status == 200


async def test_who_gives_back_again_and_again_waits(api: Api) -> None:
    sale = await api.open_sale(cooldown=COOLDOWN)
    shown = await api.ops("PUT", f"/v1/sales/{sale}-x", _body(cooldown=COOLDOWN))
    assert shown.body["cooldown"] == COOLDOWN
    await give_back(api, sale, "ada", "a")
    await give_back(api, sale, "ada", "b")
    refused = await api.reserve(sale, "ada", "c")
    assert refused.told == (429, "rate_limited")
    assert (refused.body["limit"], refused.body["given_back"]) == ("given_back", 2)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers.getall("Retry-After") == [refused.headers["Retry-After"]]
    metrics = (await api.call("GET", "/metrics")).raw
    assert b'dropgate_rate_limited_total{limit="given_back"} 1.0' in metrics
    again = await api.reserve(sale, "ada", "a")
    assert (again.status, again.body["state"]) == (201, "cancelled")
    assert (await api.reserve(sale, "bob", "c")).status == 201


async def test_a_shop_cannot_hold_for_who_waits(api: Api) -> None:
    sale = await api.open_sale(cooldown=COOLDOWN | {"after": 1})
    await give_back(api, sale, "ada", "a")
    body = {"lines": [{"sku": "shirt", "quantity": 1}], "buyer_id": "ada"}
    path = f"/v1/sales/{sale}/reservations"
    refused = await api.storefront("POST", path, body, Idempotency_Key="b")
    assert refused.told == (429, "rate_limited")


async def test_keys_of_unpaid_reservations_are_bounded(api: Api) -> None:
    sale = await api.open_sale(unpaid_per_buyer=2, unpaid_window_seconds=0)
    await give_back(api, sale, "ada", "a")
    held = await api.held(sale, "ada")
    refused = await api.reserve(sale, "ada", "c")
    assert (refused.told, refused.body["limit"]) == ((409, "limit_exceeded"), 2)
    assert "sku" not in refused.body
    assert [hold["reservation_id"] for hold in refused.body["own_holds"]] == [held]
    paid = {"payment_reference": "p"}
    assert (await api.storefront("POST", f"/v1/reservations/{held}/confirm", paid)).status == 200
    assert (await api.reserve(sale, "ada", "c")).status == 201


async def test_unpaid_reservations_are_forgotten_with_time(api: Api) -> None:
    sale = await api.open_sale(unpaid_per_buyer=2, unpaid_window_seconds=1)
    for key in ("a", "b"):
        await give_back(api, sale, "ada", key)

    async def accepted() -> bool:
        return (await api.reserve(sale, "ada", "c")).status == 201

    await wait_until(accepted, "a window without anything given back begins")
    shown = await api.ops("POST", f"/v1/sales/{sale}/pause")
    assert shown.body["unpaid_window_seconds"] == 1


def _body(**changes: object) -> dict[str, object]:
    item = {"sku": "s", "price": {"amount": 1, "currency": "EUR"}, "stock": 1}
    return {"items": [item]} | changes
