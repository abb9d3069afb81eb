"""From the waiting room to the reservation: what an admission is good for, when a slot is free."""

from config.settings import Settings
from config.stack.server import free_port
from gateway.admission.passes import Passes
from tests.support.api import Api, serving
from tests.support.waiting import wait_until
from tests.support.waiting_room.places import (
    NARROW_ROOM,
    ROOM,
    admitted,
    join,
    look,
    place,
    reserve,
)


async def test_an_admission_is_good_for_one_reservation(api: Api) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    refused = await reserve(api, sale, "buyer-1")
    assert refused.told == (403, "not_admitted")
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    token = await admitted(api, sale, "buyer-1", ticket)
    assert (await reserve(api, sale, "buyer-2", token)).told == (403, "not_admitted")
    first = await reserve(api, sale, "buyer-1", token, "key-1")
    assert first.status == 201, first.raw
    again = await reserve(api, sale, "buyer-1", token, "key-1")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    spent = await reserve(api, sale, "buyer-1", token)
    assert (spent.told, spent.body["reason"]) == ((403, "not_admitted"), "spent")


async def test_a_reservation_frees_the_slot_for_the_next(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first, second = await place(api, sale, "buyer-1"), await place(api, sale, "buyer-2")
    token = await admitted(api, sale, "buyer-1", first["ticket"])
    assert (await look(api, sale, "buyer-2", second["ticket"])).body["state"] == "waiting"
    assert (await reserve(api, sale, "buyer-1", token)).status == 201
    await admitted(api, sale, "buyer-2", second["ticket"])
    ended = await look(api, sale, "buyer-1", first["ticket"])
    assert (ended.told, ended.body["reason"]) == ((403, "not_admitted"), "ended")
    assert (await place(api, sale, "buyer-1"))["position"] == 3


async def test_a_slot_that_is_not_used_returns_and_its_token_with_it(api: Api) -> None:
    sale = await api.open_sale(waiting_room={"max_active_buyers": 1, "admission_seconds": 15})
    first, second = await place(api, sale, "buyer-1"), await place(api, sale, "buyer-2")
    token = await admitted(api, sale, "buyer-1", first["ticket"])
    await admitted(api, sale, "buyer-2", second["ticket"])
    late = await reserve(api, sale, "buyer-1", token)
    assert (late.told, late.body["reason"]) == ((403, "not_admitted"), "expired")
    again = await join(api, sale, "buyer-1", Queue_Ticket=first["ticket"])
    assert again.body["position"] == 3


async def test_nobody_is_let_in_for_whom_no_unit_is_left(api: Api) -> None:
    price = {"amount": 100, "currency": "EUR"}
    items = [{"sku": "shirt", "price": price, "stock": 2}]
    sale = await api.open_sale(waiting_room=ROOM | {"max_active_buyers": 100}, items=items)
    tickets = [(await place(api, sale, f"buyer-{n}"))["ticket"] for n in range(1, 6)]
    tokens = [await admitted(api, sale, f"buyer-{n}", tickets[n - 1]) for n in (1, 2)]
    third = (await look(api, sale, "buyer-3", tickets[2])).body
    assert (third["state"], third["likely_too_late"]) == ("waiting", True)
    held = await reserve(api, sale, "buyer-1", tokens[0])
    other = await reserve(api, sale, "buyer-2", tokens[1])
    for made in (held, other):
        assert made.status == 201
        path = f"/v1/reservations/{made.body['reservation_id']}/confirm"
        await api.storefront("POST", path, {"payment_reference": "paid"})

    async def told() -> bool:
        answer = (await look(api, sale, "buyer-5", tickets[4])).body
        return bool(answer["state"] == "sold_out")

    await wait_until(told, "all are told that it is sold out")


async def test_the_negative_control_a_forged_admission_would_pass(api: Api) -> None:
    """The refusals above are the signature's doing: signed with the sale's key, it passes."""
    sale = await api.open_sale(waiting_room=ROOM)
    forged = Passes(b"f" * 32, sale).admission("buyer-1", 1, 4_000_000_000_000)
    assert (await reserve(api, sale, "buyer-1", forged)).told == (403, "not_admitted")


async def test_an_admission_ends_when_its_buyer_leaves(api: Api, settings: Settings) -> None:
    """One slot, and never a second admission that lets anybody in; also by a new worker."""
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    tokens = []
    for _ in range(3):
        ticket = (await place(api, sale, "buyer-1"))["ticket"]
        tokens.append(await admitted(api, sale, "buyer-1", ticket))
        left = await api.buyer("buyer-1", "DELETE", f"/v1/sales/{sale}/queue")
        assert left.body == {"left": True}
    for number, token in enumerate(tokens):
        refused = await reserve(api, sale, "buyer-1", token, f"left-{number}")
        assert (refused.told, refused.body["reason"]) == ((403, "not_admitted"), "expired")
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    newest = await admitted(api, sale, "buyer-1", ticket)
    changes = {"port": free_port(), "run_dir": settings.gateway.run_dir.with_name("other")}
    gateway = settings.gateway.model_copy(update=changes)
    async with serving(settings.model_copy(update={"gateway": gateway})) as other:
        for number, token in enumerate(tokens):
            refused = await reserve(other, sale, "buyer-1", token, f"again-{number}")
            assert refused.told == (403, "not_admitted")
        assert (await reserve(other, sale, "buyer-1", newest, "newest")).status == 201
