from tests.support.api import Api


async def test_an_accepted_reservation_is_told_whole(api: Api) -> None:
    sale = await api.open_sale()
    made = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 1), ("cap", 2), ("shirt", 1))
    assert made.status == 201, made.raw
    body = made.body
    assert made.headers["Location"] == f"/v1/reservations/{body['reservation_id']}"
    assert "Idempotent-Replayed" not in made.headers
    assert body["order_id"] == body["reservation_id"]
    assert body["reservation_id"].startswith(f"{sale}.0.")
    assert body["lines"] == [
        {"sku": "shirt", "quantity": 2, "location": "default", "unit_price": 1999},
        {"sku": "cap", "quantity": 2, "location": "north", "unit_price": 1999},
    ]
    assert body["total"] == {"amount": 4 * 1999, "currency": "EUR"}
    assert (body["state"], body["buyer_id"], body["sale_id"]) == ("held", "buyer-1", sale)
    assert body["event_id"].startswith(f"{sale}:0:1-")
    assert body["expires_at"].endswith("Z")
