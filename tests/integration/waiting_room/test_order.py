"""The order of a waiting room: fixed once the room has buyers, and the sale's until then."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api import Api, Reply, sale_body
from tests.support.servers import unique
from tests.support.waiting import wait_until
from tests.support.waiting_room.places import ROOM, admitted, place

EARLY = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
OTHER = {"fifo": "draw", "draw": "fifo"}


async def put(api: Api, sale: str, room: dict[str, object] | None) -> Reply:
    return await api.ops("PUT", f"/v1/sales/{sale}", sale_body(waiting_room=room))


def room_of(order: str, **changes: object) -> dict[str, object]:
    return ROOM | {"order": order, "prequeue_at": EARLY} | changes


@pytest.mark.parametrize("order", ["fifo", "draw"])
async def test_is_fixed_once_the_room_has_buyers(api: Api, order: str) -> None:
    sale = unique("sale")
    assert (await put(api, sale, room_of(order))).status == 201
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    for changed in (room_of(OTHER[order]), None):
        refused = await put(api, sale, changed)
        assert (refused.told, refused.body["reason"]) == ((409, "invalid_state"), "buyers")
    assert (await api.ops("GET", f"/v1/sales/{sale}")).status == 200
    assert (await put(api, sale, room_of(order, max_active_buyers=9))).status == 200
    assert (await api.ops("POST", f"/v1/sales/{sale}/open")).status == 200
    await admitted(api, sale, "buyer-1", ticket)


@pytest.mark.parametrize("order", ["fifo", "draw"])
async def test_is_what_the_sale_says_while_nobody_has_joined(api: Api, order: str) -> None:
    """The room is made in Redis by the first who looks, under the order that the sale then has."""
    sale = unique("sale")
    assert (await put(api, sale, room_of(order))).status == 201
    figures = f"/v1/sales/{sale}/queue/figures"
    assert (await api.ops("GET", figures)).status == 200
    assert (await put(api, sale, room_of(OTHER[order]))).status == 200
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    assert (await api.ops("POST", f"/v1/sales/{sale}/open")).status == 200
    await admitted(api, sale, "buyer-1", ticket)

    async def drawn() -> bool:
        shown = (await api.ops("GET", figures)).body["drawn"]
        return bool(shown == (1 if order == "fifo" else None))

    await wait_until(drawn, "a draw was held where the sale has one, and none elsewhere")
