"""What operators watch: the list of sales, live figures, the audit log, previews."""

import pytest
import redis.asyncio

from tests.support.api import Api, sale_body, token_of
from tests.support.servers import unique
from tests.support.waiting import wait_until

POSTERS = {"sku": "shirt", "delta": -5, "reason": "recount"}


async def test_sales_are_listed_newest_first_with_their_state(api: Api) -> None:
    first = await api.open_sale()
    second = unique("sale")
    await api.ops("PUT", f"/v1/sales/{second}", sale_body(opens_at="2099-01-01T00:00:00Z"))
    listed = (await api.ops("GET", "/v1/sales")).body
    assert [(sale["sale_id"], sale["state"]) for sale in listed["sales"]] == [
        (second, "scheduled"),
        (first, "open"),
    ]
    assert listed["sales"][0]["opens_at"] == "2099-01-01T00:00:00.000Z"
    assert listed["next_cursor"] is None


async def test_a_list_longer_than_a_page_goes_on_where_it_ended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.api.operations.overview.SALES_PAGE", 2)
    monkeypatch.setattr("gateway.api.operations.overview.AUDIT_PAGE", 2)
    sales = [await api.open_sale() for _ in range(3)]
    page = (await api.ops("GET", "/v1/sales")).body
    rest = (await api.ops("GET", f"/v1/sales?cursor={page['next_cursor']}")).body
    assert [sale["sale_id"] for sale in page["sales"] + rest["sales"]] == sales[::-1]
    page = (await api.ops("GET", "/v1/audit-log")).body
    rest = (await api.ops("GET", f"/v1/audit-log?cursor={page['next_cursor']}")).body
    numbers = [entry["audit_id"] for entry in page["entries"] + rest["entries"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 4


async def test_figures_tell_units_and_outcomes(api: Api) -> None:
    sale = await api.open_sale(per_buyer_limit=1)
    before = (await api.ops("GET", f"/v1/sales/{sale}/figures")).body
    held = await api.held(sale, "buyer-1", ("cap", 1))
    await api.held(sale, "buyer-2", ("cap", 1))
    assert (await api.reserve(sale, "buyer-1", "again", ("cap", 1))).status == 409
    await api.storefront("POST", f"/v1/reservations/{held}/confirm", {"payment_reference": "p"})
    figures = (await api.ops("GET", f"/v1/sales/{sale}/figures")).body
    assert figures["state"] == "open"
    assert figures["items"][1] == {
        "sku": "cap", "name": "cap", "available": 3, "held": 1, "sold": 1, "paused": False,
    }  # fmt: skip
    gateway, was = figures["gateway"], before["gateway"]
    assert gateway["accepted"] - was["accepted"] == 2
    assert gateway["refused"]["limit_exceeded"] - was["refused"].get("limit_exceeded", 0) == 1
    latency = gateway["reserve_latency"]
    assert len(latency["counts"]) == len(latency["bounds_ms"]) + 1
    assert sum(latency["counts"]) - sum(was["reserve_latency"]["counts"]) == 3
    assert figures["pipeline"]["stopped"] is False
    assert figures["pipeline"]["drift"] is None


async def test_figures_before_a_sale_opens_are_unknown_not_zero(api: Api) -> None:
    sale = unique("sale")
    await api.ops("PUT", f"/v1/sales/{sale}", sale_body())
    figures = (await api.ops("GET", f"/v1/sales/{sale}/figures")).body
    assert (figures["state"], figures["items"], figures["pipeline"]) == ("draft", None, None)


async def test_figures_of_a_lost_partition_are_unknown_not_zero(
    api: Api, redis_client: redis.asyncio.Redis
) -> None:
    sale = await api.open_sale()
    await redis_client.delete(f"{{{sale}:0}}:meta")
    figures = (await api.ops("GET", f"/v1/sales/{sale}/figures")).body
    assert figures["items"] is None
    assert figures["pipeline"]["recovering"] is True
    assert figures["pipeline"]["outbox_length"] is None


async def test_a_preview_tells_what_the_adjustment_then_does(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/sales/{sale}/stock-adjustments"
    shown = await api.ops("POST", f"{path}/preview", POSTERS)
    assert shown.status == 200
    assert (shown.body["available"], shown.body["available_after"]) == (10, 5)
    assert shown.body["refusal"] is None
    done = await api.ops("POST", path, POSTERS)
    assert done.body["available"] == shown.body["available_after"]

    refused = await api.ops("POST", f"{path}/preview", {**POSTERS, "delta": -6})
    assert (refused.body["refusal"], refused.body["available_after"]) == ("floor_violation", None)
    await api.ops("POST", f"/v1/sales/{sale}/close")
    closed = await api.ops("POST", f"{path}/preview", POSTERS)
    assert closed.body["refusal"] == "invalid_state"
    assert (await api.ops("POST", f"{path}/preview", {**POSTERS, "delta": 0})).code == "invalid"


async def test_the_audit_log_is_of_one_sale_or_of_all(api: Api) -> None:
    sale, other = await api.open_sale(), await api.open_sale()
    await api.ops("POST", f"/v1/sales/{sale}/stock-adjustments", POSTERS)
    await api.ops("POST", f"/v1/sales/{sale}/stock-adjustments/preview", POSTERS)
    of_sale = (await api.ops("GET", f"/v1/audit-log?sale_id={sale}")).body["entries"]
    assert of_sale[0]["action"] == "stock_adjustment_asked"
    assert of_sale[0]["actor"] == "operator"
    assert of_sale[0]["detail"]["delta"] == -5
    assert {entry["sale_id"] for entry in of_sale} == {sale}
    everything = (await api.ops("GET", "/v1/audit-log")).body["entries"]
    assert {entry["sale_id"] for entry in everything} == {sale, other}


async def test_only_operators_watch(api: Api) -> None:
    sale = await api.open_sale()
    for path in ("/v1/sales", f"/v1/sales/{sale}/figures", "/v1/audit-log"):
        for scope in ("buyer", "storefront"):
            refused = await api.call("GET", path, token=token_of(scope, "somebody"))
            assert refused.told == (403, "forbidden")
    assert (await api.ops("GET", "/v1/audit-log?cursor=x")).code == "invalid"
    assert (await api.ops("GET", "/v1/audit-log?sale_id=A")).code == "invalid"
    assert (await api.ops("GET", "/v1/audit-log?actor=a")).code == "invalid"
    assert (await api.ops("GET", "/v1/sales?cursor=x")).code == "invalid"
    assert (await api.ops("GET", "/v1/sales/no-such-sale/figures")).code == "not_found"


async def test_figures_of_a_sale_with_a_waiting_room_tell_who_waits(api: Api) -> None:
    room = {"max_active_buyers": 1, "admission_seconds": 3600}
    sale = await api.open_sale(waiting_room=room)
    for buyer in ("a", "b", "c"):
        assert (await api.buyer(buyer, "POST", f"/v1/sales/{sale}/queue")).status == 200

    async def shown() -> bool:
        figures = (await api.ops("GET", f"/v1/sales/{sale}/figures")).body["waiting_room"]
        return (figures["waiting"], figures["admitted"]) == (2, 1)

    await wait_until(shown, "two wait and one is let in")
