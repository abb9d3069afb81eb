import asyncio

import pytest

from gateway.inventory.errors import UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.store import ReservationStore
from tests.support.api import Api, sale_body, token_of
from tests.support.waiting import wait_until


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


async def test_a_retry_gets_the_same_reservation_in_its_current_state(api: Api) -> None:
    sale = await api.open_sale()
    first = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 1), ("shirt", 1))
    # Quoted and bare are the same key, and summed lines the same request.
    again = await api.reserve(sale, "buyer-1", '"key-1"', ("shirt", 2))
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.body == first.body
    identifier = first.body["reservation_id"]
    await api.buyer("buyer-1", "POST", f"/v1/reservations/{identifier}/cancel")
    late = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 2))
    assert (late.status, late.body["state"]) == (201, "cancelled")
    assert late.body["event_id"] == first.body["event_id"]


async def test_concurrent_requests_with_one_key_have_one_effect(api: Api) -> None:
    sale = await api.open_sale(per_buyer_limit=10)
    calls = (api.reserve(sale, "buyer-1", "key-1", ("shirt", 3)) for _ in range(20))
    replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body["reservation_id"] for reply in replies}) == 1
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1
    snapshot = await api.ops("GET", f"/v1/sales/{sale}/snapshot")
    assert snapshot.body["items"][0]["held"] == 3


async def test_one_key_names_one_request_of_one_buyer(api: Api) -> None:
    sale = await api.open_sale()
    first = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 1))
    other = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 2))
    assert other.told == (422, "idempotency_key_reused")
    theirs = await api.reserve(sale, "buyer-2", "key-1", ("shirt", 2))
    assert theirs.status == 201
    assert theirs.body["reservation_id"] != first.body["reservation_id"]


async def test_only_accepted_reservations_bind_a_key(api: Api) -> None:
    sale = await api.open_sale()
    refused = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 5))
    assert refused.told == (409, "limit_exceeded")
    assert (await api.reserve(sale, "buyer-1", "key-1", ("shirt", 4))).status == 201


async def test_a_limit_answer_shows_the_buyers_own_holds(api: Api) -> None:
    sale = await api.open_sale()
    held = await api.reserve(sale, "buyer-1", "key-1", ("shirt", 4))
    refused = await api.reserve(sale, "buyer-1", "key-2", ("shirt", 1))
    assert refused.told == (409, "limit_exceeded")
    assert (refused.body["sku"], refused.body["limit"]) == ("shirt", 4)
    assert refused.body["own_holds"] == [
        {
            "reservation_id": held.body["reservation_id"],
            "expires_at": held.body["expires_at"],
        }
    ]


async def test_a_lost_reply_to_an_extension_says_what_to_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat would extend again, so the caller is not told to ask again."""
    held = await api.held(await api.open_sale(), "ann")
    extend = ReservationStore.extend

    async def extend_and_lose(
        store: ReservationStore, partition: PartitionId, token: str, milliseconds: int, key: str
    ) -> EdgeReply:
        await extend(store, partition, token, milliseconds, key)
        raise UnknownOutcome("the connection was lost")

    monkeypatch.setattr(ReservationStore, "extend", extend_and_lose)
    path = f"/v1/reservations/{held}"
    before = (await api.buyer("ann", "GET", path)).body["expires_at"]
    told = await api.buyer("ann", "POST", f"{path}/extend", {"seconds": 60})
    assert told.told == (503, "recovering")
    assert "Read the reservation before you extend it again" in told.body["detail"]
    assert (await api.buyer("ann", "GET", path)).body["expires_at"] != before


async def test_a_sold_out_answer_shows_own_holds_only(api: Api) -> None:
    sale = await api.open_sale(per_buyer_limit=10)
    first = await api.held(sale, "buyer-1", ("shirt", 6))
    await api.held(sale, "buyer-2", ("shirt", 4))
    refused = await api.reserve(sale, "buyer-1", "late", ("shirt", 1))
    assert refused.told == (409, "sold_out")
    assert refused.body["sku"] == "shirt"
    assert [hold["reservation_id"] for hold in refused.body["own_holds"]] == [first]
    stranger = await api.reserve(sale, "buyer-3", "late", ("shirt", 1))
    assert (stranger.told, stranger.body["own_holds"]) == ((409, "sold_out"), [])


async def test_a_storefront_acts_for_the_buyer_it_names(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/reservations"
    body = {"lines": [{"sku": "shirt", "quantity": 1}]}
    made = await api.storefront("POST", path, body | {"buyer_id": "b-9"}, Idempotency_Key="k")
    assert (made.status, made.body["buyer_id"]) == (201, "b-9")
    # The key is the buyer's, whoever sends it.
    again = await api.buyer("b-9", "POST", path, body, Idempotency_Key="k")
    assert again.body["reservation_id"] == made.body["reservation_id"]
    nameless = await api.storefront("POST", path, body, Idempotency_Key="k2")
    assert nameless.told == (422, "invalid")
    own = await api.buyer("b-1", "POST", path, body | {"buyer_id": "b-1"}, Idempotency_Key="k")
    assert own.status == 201
    foreign = await api.buyer("b-1", "POST", path, body | {"buyer_id": "b-2"}, Idempotency_Key="j")
    assert foreign.told == (422, "invalid")


async def test_only_a_storefront_confirms_and_it_may_repeat_itself(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'buyer-1', ('shirt', 2))}/confirm"
    for token in (token_of("buyer", "buyer-1"), token_of("ops", "operator")):
        refused = await api.call("POST", path, token=token, json={"payment_reference": "p-1"})
        assert refused.told == (403, "forbidden")
    done = await api.storefront("POST", path, {"payment_reference": "p-1"})
    assert (done.status, done.body["state"]) == (200, "confirmed")
    assert done.body["payment_reference"] == "p-1"
    again = await api.storefront("POST", path, {"payment_reference": "p-1"})
    assert (again.status, again.body) == (200, done.body)
    other = await api.storefront("POST", path, {"payment_reference": "p-2"})
    assert other.told == (409, "already_resolved")


async def test_a_part_is_confirmed_and_the_rest_returns(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'b', ('shirt', 3), ('cap', 1))}/confirm"
    most = {"payment_reference": "p", "lines": [{"sku": "shirt", "quantity": 4}]}
    assert (await api.storefront("POST", path, most)).told == (422, "invalid")
    part = {"payment_reference": "p", "lines": [{"sku": "shirt", "quantity": 2}]}
    done = await api.storefront("POST", path, part)
    assert [(line["sku"], line["quantity"]) for line in done.body["lines"]] == [("shirt", 2)]
    assert done.body["total"]["amount"] == 2 * 1999
    items = (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).body["items"]
    assert [(i["available"], i["held"], i["sold"]) for i in items] == [(8, 0, 2), (5, 0, 0)]


async def test_cancel_returns_the_units_once(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'buyer-1', ('shirt', 4))}"
    for _ in range(2):
        done = await api.buyer("buyer-1", "POST", f"{path}/cancel", {})
        assert (done.status, done.body["state"]) == (200, "cancelled")
    items = (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).body["items"]
    assert items[0]["available"] == 10
    late = await api.storefront("POST", f"{path}/confirm", {"payment_reference": "p"})
    assert late.told == (409, "already_resolved")
    extended = await api.storefront("POST", f"{path}/extend", {"seconds": 5})
    assert extended.told == (409, "already_resolved")


async def test_extend_is_capped_and_never_shortens(api: Api) -> None:
    sale = await api.open_sale(hold_seconds=100, extension_seconds=60)
    made = await api.reserve(sale, "buyer-1", "key")
    path = f"/v1/reservations/{made.body['reservation_id']}/extend"
    deadlines = [made.body["expires_at"]]
    for _ in range(3):
        done = await api.buyer("buyer-1", "POST", path, {"seconds": 40})
        assert done.status == 200, done.raw
        deadlines.append(done.body["expires_at"])
    assert deadlines[0] < deadlines[1] < deadlines[2] == deadlines[3]


async def test_an_expired_hold_is_gone_swept_or_not(api: Api) -> None:
    sale = await api.open_sale(hold_seconds=1)
    path = f"/v1/reservations/{await api.held(sale, 'buyer-1', ('shirt', 4))}"

    async def expired() -> bool:
        return bool((await api.buyer("buyer-1", "GET", path)).body["state"] == "expired")

    await wait_until(expired, "the hold expires")
    confirmed = await api.storefront("POST", f"{path}/confirm", {"payment_reference": "p"})
    assert confirmed.told == (410, "hold_expired")
    for call, body in (("cancel", {}), ("extend", {"seconds": 9})):
        refused = await api.buyer("buyer-1", "POST", f"{path}/{call}", body)
        assert refused.told == (410, "hold_expired")
    # The same buyer, at the limit with the expired hold, may buy again.
    assert (await api.reserve(sale, "buyer-1", "again", ("shirt", 4))).status == 201


async def test_returns_are_once_per_key_and_never_more_than_was_sold(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'b', ('shirt', 3))}"
    returns = f"{path}/returns"
    one = {"lines": [{"sku": "shirt", "quantity": 1}], "restock": True, "reason": "too small"}
    early = await api.storefront("POST", returns, one, Idempotency_Key="r1")
    assert early.told == (409, "invalid_state")
    await api.storefront("POST", f"{path}/confirm", {"payment_reference": "p"})
    for replayed in (None, "true"):
        done = await api.storefront("POST", returns, one, Idempotency_Key="r1")
        assert (done.status, done.headers.get("Idempotent-Replayed")) == (201, replayed)
        assert [line["quantity"] for line in done.body["returned"]] == [1]
    other = await api.storefront("POST", returns, one | {"restock": False}, Idempotency_Key="r1")
    assert other.told == (422, "idempotency_key_reused")
    rest = {"restock": False, "reason": "damaged"}
    done = await api.storefront("POST", returns, rest, Idempotency_Key="r2")
    assert [line["quantity"] for line in done.body["returned"]] == [3]
    more = await api.storefront("POST", returns, one, Idempotency_Key="r3")
    assert more.told == (409, "invalid_state")
    keyless = await api.storefront("POST", returns, one)
    assert keyless.told == (400, "idempotency_key_required")
    item = (await api.ops("GET", f"/v1/sales/{sale}/snapshot")).body["items"][0]
    assert (item["available"], item["sold"], item["adjusted"]) == (8, 0, -2)


async def test_a_buyer_cannot_tell_anothers_reservation_from_none(api: Api) -> None:
    sale = await api.open_sale()
    mine = await api.held(sale, "owner")
    unknown = f"{sale}.0.{'A' * 22}"
    for identifier in (mine, unknown, f"{sale}.1.{'A' * 22}", "nonsense", f"no-sale.0.{'A' * 22}"):
        path = f"/v1/reservations/{identifier}"
        told = [
            await api.buyer("thief", "GET", path),
            await api.buyer("thief", "POST", f"{path}/cancel"),
            await api.buyer("thief", "POST", f"{path}/extend", {"seconds": 9}),
            await api.buyer("thief", "GET", f"/v1/orders/{identifier}"),
        ]
        assert {reply.told for reply in told} == {(404, "not_found")}
        assert len({reply.body["detail"] for reply in told[:3]}) == 1
    shown = await api.buyer("owner", "GET", f"/v1/reservations/{mine}")
    assert (shown.status, shown.body["state"]) == (200, "held")
    for reader in (api.ops, api.storefront):
        assert (await reader("GET", f"/v1/reservations/{mine}")).body == shown.body


async def test_a_reservation_the_ledger_has_not_seen_is_a_pending_order(api: Api) -> None:
    sale = await api.open_sale()
    identifier = await api.held(sale, "buyer-1", ("shirt", 2))
    order = await api.buyer("buyer-1", "GET", f"/v1/orders/{identifier}")
    assert order.status == 200, order.raw
    assert (order.body["status"], order.body["in_ledger"]) == ("PENDING", False)
    assert order.body["total"] == {"amount": 2 * 1999, "currency": "EUR"}


@pytest.mark.parametrize("state", ["draft", "scheduled", "paused", "closed"])
async def test_only_an_open_sale_takes_reservations(api: Api, sale_id: str, state: str) -> None:
    changes = {"opens_at": "2099-01-01T00:00:00Z"} if state == "scheduled" else {}
    assert (await api.ops("PUT", f"/v1/sales/{sale_id}", sale_body(**changes))).status == 201
    early = ""
    if state in {"paused", "closed"}:
        await api.ops("POST", f"/v1/sales/{sale_id}/open")
        early = await api.held(sale_id, "early")
        verb = {"paused": "pause", "closed": "close"}[state]
        await api.ops("POST", f"/v1/sales/{sale_id}/{verb}")
    refused = await api.reserve(sale_id, "buyer-1", "key")
    assert refused.told == (409, "sale_not_open")
    assert refused.body["state"] == state
    if early:
        done = await api.buyer("early", "POST", f"/v1/reservations/{early}/cancel")
        assert done.status == 200
