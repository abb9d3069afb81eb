"""The waiting room over HTTP, on a real gateway, Redis and Postgres."""

import pytest

from gateway.admission.waiting_room import rooms
from tests.support.api import Api
from tests.support.servers import unique
from tests.support.waiting import wait_until
from tests.support.waiting_room.places import NARROW_ROOM, ROOM, admitted, join, look, place


async def test_buyers_wait_in_the_order_they_came_and_are_let_in(api: Api) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    answers = [await place(api, sale, f"buyer-{n}") for n in range(1, 5)]
    assert [answer["position"] for answer in answers] == [1, 2, 3, 4]
    for n in (1, 2):
        await admitted(api, sale, f"buyer-{n}", answers[n - 1]["ticket"])
    third = (await look(api, sale, "buyer-3", answers[2]["ticket"])).body
    assert (third["state"], third["position"], third["ahead"]) == ("waiting", 3, 0)
    fourth = (await look(api, sale, "buyer-4", answers[3]["ticket"])).body
    assert (fourth["state"], fourth["ahead"]) == ("waiting", 1)


async def test_joining_again_finds_the_same_place(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first = await place(api, sale, "buyer-1")
    second = await place(api, sale, "buyer-2")
    again = await place(api, sale, "buyer-2")
    shown = await join(api, sale, "buyer-2", Queue_Ticket=second["ticket"])
    assert (again["position"], shown.body["position"]) == (2, 2)
    assert again["ticket"] == shown.body["ticket"] == second["ticket"] != first["ticket"]


async def test_leaving_frees_the_slot_for_the_next(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first, second = await place(api, sale, "buyer-1"), await place(api, sale, "buyer-2")
    await admitted(api, sale, "buyer-1", first["ticket"])
    assert (await look(api, sale, "buyer-2", second["ticket"])).body["state"] == "waiting"
    left = await api.buyer("buyer-1", "DELETE", f"/v1/sales/{sale}/queue")
    assert (left.status, left.body) == (200, {"left": True})
    await admitted(api, sale, "buyer-2", second["ticket"])
    gone = await look(api, sale, "buyer-1", first["ticket"])
    assert (gone.told, gone.body["reason"]) == ((403, "not_admitted"), "ended")
    again = await place(api, sale, "buyer-1")
    assert (again["position"], again["state"]) == (3, "waiting")


async def test_a_ticket_is_its_buyers_for_its_sale(api: Api) -> None:
    sale, other = await api.open_sale(waiting_room=ROOM), await api.open_sale(waiting_room=ROOM)
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    await place(api, other, "buyer-1")
    for refused in (
        await look(api, sale, "buyer-2", ticket),
        await look(api, other, "buyer-1", ticket),
        await look(api, sale, "buyer-1", ticket[:-1] + ("A" if ticket[-1] != "A" else "B")),
        await join(api, sale, "buyer-2", Queue_Ticket=ticket),
    ):
        assert (refused.told, refused.body["reason"]) == ((403, "not_admitted"), "ticket")
    missing = await api.buyer("buyer-1", "GET", f"/v1/sales/{sale}/queue")
    assert missing.told == (422, "invalid")


async def test_a_sale_without_a_waiting_room_says_so(api: Api) -> None:
    sale = await api.open_sale()
    assert (await join(api, sale, "buyer-1")).told == (409, "invalid_state")
    assert (await join(api, unique("none"), "buyer-1")).told == (404, "not_found")


async def test_all_are_told_when_it_is_over(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    for n in (1, 2):
        last = await place(api, sale, f"buyer-{n}")
    await api.ops("POST", f"/v1/sales/{sale}/close")

    async def state() -> bool:
        answer = await look(api, sale, "buyer-2", last["ticket"])
        return bool(answer.body["state"] == "closed")

    await wait_until(state, "the buyer is told")
    assert (await join(api, sale, "buyer-3")).told == (409, "sale_not_open")


async def test_a_worker_with_all_its_rooms_drops_one_that_nobody_wants(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "ROOMS_MAX", 1)
    sales = [await api.open_sale(waiting_room=ROOM) for _ in range(2)]
    assert (await join(api, sales[0], "buyer-1")).status == 200
    assert (await join(api, sales[1], "buyer-1")).told == (503, "overloaded")
    monkeypatch.setattr(rooms, "UNWANTED_SECONDS", 0.0)
    for sale in (*reversed(sales), *sales):
        assert (await place(api, sale, "buyer-1"))["position"] == 1
