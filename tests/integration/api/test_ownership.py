"""Nobody sees or touches what is another's: every call of the table, made by a foreign buyer."""

import msgspec

from gateway.admission.tokens import Scope
from gateway.api.contract.endpoints import Endpoint
from gateway.api.description.examples import example_of
from tests.support.api import Api
from tests.support.endpoints import api_endpoints

OWNER, STRANGER = "buyer-owner", "buyer-stranger"
# Calls that a buyer may make and that name nobody else's: what they answer is the caller's own.
OWN_BY_NATURE = {"reserve", "orders", "queue_join", "queue", "queue_leave", "queue_events"}


async def test_every_call_of_a_stranger_is_refused_and_changes_nothing(api: Api) -> None:
    sale = await api.open_sale()
    reservation = await api.held(sale, OWNER)
    before = (await api.buyer(OWNER, "GET", f"/v1/reservations/{reservation}")).body
    tried = set()
    for endpoint in api_endpoints():
        demonstration = endpoint.path.startswith("/demo/")
        if not isinstance(endpoint, Endpoint) or demonstration or endpoint.route in OWN_BY_NATURE:
            continue
        path = endpoint.path.format(sale=sale, sku="shirt", id=reservation, buyer=OWNER)
        body = example_of(endpoint.body) if endpoint.body is not None else None
        told = await api.buyer(STRANGER, endpoint.method, path, body or None, Idempotency_Key="k")
        allowed = Scope.BUYER in endpoint.scopes
        assert told.told == ((404, "not_found") if allowed else (403, "forbidden")), endpoint.route
        assert OWNER.encode() not in told.raw
        tried.add(endpoint.route)
    assert {"reservation", "cancel", "extend", "order", "confirm", "snapshot"} <= tried
    assert (await api.buyer(OWNER, "GET", f"/v1/reservations/{reservation}")).body == before


async def test_what_calls_without_an_id_show_is_the_callers_own(api: Api) -> None:
    sale = await api.open_sale()
    reservation = await api.held(sale, OWNER)
    listed = await api.buyer(STRANGER, "GET", "/v1/orders")
    assert listed.body["orders"] == []
    foreign = await api.buyer(STRANGER, "GET", f"/v1/orders?buyer_id={OWNER}")
    assert foreign.told == (422, "invalid")
    lines = [{"sku": "shirt", "quantity": 1}]
    path = f"/v1/sales/{sale}/reservations"
    named = await api.buyer(
        STRANGER, "POST", path, {"lines": lines, "buyer_id": OWNER}, Idempotency_Key="k"
    )
    assert named.told == (422, "invalid")
    own = await api.reserve(sale, STRANGER, "key-of-both")
    other = await api.reserve(sale, OWNER, "key-of-both")
    assert own.body["reservation_id"] != other.body["reservation_id"]
    assert "Idempotent-Replayed" not in other.headers
    full = await api.reserve(sale, STRANGER, "k2", ("shirt", 4))
    assert full.told == (409, "limit_exceeded")
    holds = [hold["reservation_id"] for hold in full.body["own_holds"]]
    assert holds == [own.body["reservation_id"]]
    assert reservation not in msgspec.json.encode(full.body).decode()


async def test_a_ticket_is_good_for_its_buyer_alone(api: Api) -> None:
    room = {"max_active_buyers": 10, "admission_seconds": 60}
    sale = await api.open_sale(waiting_room=room)
    path = f"/v1/sales/{sale}/queue"
    ticket = (await api.buyer(OWNER, "POST", path)).body["ticket"]
    for method, place in (("GET", path), ("POST", path), ("GET", f"{path}/events")):
        told = await api.buyer(STRANGER, method, place, Queue_Ticket=ticket)
        assert told.told == (403, "not_admitted"), (method, place)
