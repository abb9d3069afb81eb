"""What operators do with a waiting room, and the draw that everybody can check."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.admission.waiting_room.draw import Draw, commitment_of
from tests.support.api import Api, sale_body
from tests.support.servers import unique
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


async def ask(api: Api, sale: str, word: str, body: object = None) -> dict[str, object]:
    answer = await api.ops("POST", f"/v1/sales/{sale}/queue/{word}", body)
    assert answer.status == 200, answer.raw
    return answer.body


async def audited(api: Api, sale: str) -> list[str]:
    log = await api.ops("GET", f"/v1/audit-log?sale_id={sale}")
    return [entry["action"] for entry in log.body["entries"]]


async def test_a_paused_room_lets_nobody_in_until_it_goes_on(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    assert (await ask(api, sale, "pause"))["mode"] == "paused"
    ticket = (await place(api, sale, "buyer-1"))["ticket"]

    async def issued() -> bool:
        figures = await api.ops("GET", f"/v1/sales/{sale}/queue/figures")
        return bool(figures.body["waiting"] == 1)

    await wait_until(issued, "the figures show who waits")
    assert (await look(api, sale, "buyer-1", ticket)).body["state"] == "waiting"
    assert (await ask(api, sale, "resume"))["mode"] == "open"
    await admitted(api, sale, "buyer-1", ticket)
    assert (await audited(api, sale))[:2] == ["queue_resume", "queue_pause"]


async def test_queue_all_sends_back_those_who_were_let_in_and_resume_gives_it_back(
    api: Api,
) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    ticket = (await place(api, sale, "buyer-1"))["ticket"]
    token = await admitted(api, sale, "buyer-1", ticket)
    assert (await ask(api, sale, "queue-all"))["mode"] == "queue_all"
    answer = (await look(api, sale, "buyer-1", ticket)).body
    assert (answer["state"], answer["ahead"]) == ("waiting", 0)
    assert (await reserve(api, sale, "buyer-1", token)).told == (403, "not_admitted")
    await ask(api, sale, "resume")
    token = await admitted(api, sale, "buyer-1", ticket)
    assert (await reserve(api, sale, "buyer-1", token)).status == 201


async def test_a_revoked_buyer_is_out_and_frees_the_slot(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first, second = await place(api, sale, "buyer-1"), await place(api, sale, "buyer-2")
    token = await admitted(api, sale, "buyer-1", first["ticket"])
    revoked = await ask(api, sale, "revoke", {"buyer_id": "buyer-1", "reason": "a bot"})
    assert revoked["revoked"] == 1
    await admitted(api, sale, "buyer-2", second["ticket"])
    assert (await reserve(api, sale, "buyer-1", token)).told == (403, "not_admitted")
    for refused in (
        await look(api, sale, "buyer-1", first["ticket"]),
        await join(api, sale, "buyer-1"),
    ):
        assert (refused.told, refused.body["reason"]) == ((403, "not_admitted"), "revoked")
    assert (await audited(api, sale))[0] == "queue_revoke"


async def test_a_rate_is_a_bound(api: Api) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    limited = await ask(api, sale, "rate", {"per_second": 0.5})
    assert limited["rate_limit"] == 0.5

    async def slowed() -> bool:
        figures = await api.ops("GET", f"/v1/sales/{sale}/queue/figures")
        return bool(figures.body["rate"] <= 0.5)

    await wait_until(slowed, "the rate is within its bound")
    assert (await ask(api, sale, "rate", {"per_second": None}))["rate_limit"] is None
    refused = await api.ops("POST", f"/v1/sales/{sale}/queue/rate", {"per_second": 0})
    assert refused.told == (422, "invalid")


async def test_only_operators_may(api: Api) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    for word in ("pause", "queue-all", "resume"):
        refused = await api.buyer("buyer-1", "POST", f"/v1/sales/{sale}/queue/{word}")
        assert refused.told == (403, "forbidden")
    figures = await api.buyer("buyer-1", "GET", f"/v1/sales/{sale}/queue/figures")
    assert figures.told == (403, "forbidden")


async def test_a_draw_can_be_checked_by_everybody(api: Api) -> None:
    sale = unique("sale")
    early = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    room = ROOM | {"order": "draw", "prequeue_at": early}
    made = await api.ops("PUT", f"/v1/sales/{sale}", sale_body(waiting_room=room))
    assert made.status == 201, made.raw
    tickets = {}
    for n in range(1, 9):
        answer = await place(api, sale, f"buyer-{n}")
        assert (answer["state"], answer["position"], answer["ahead"]) == ("waiting", None, None)
        tickets[n] = answer["ticket"]
    left = await api.buyer("buyer-3", "DELETE", f"/v1/sales/{sale}/queue")
    assert left.body == {"left": True}
    before = (await api.call("GET", f"/v1/sales/{sale}/queue/draw")).body
    assert (before["seed"], before["count"]) == (None, None)

    await api.ops("POST", f"/v1/sales/{sale}/open")

    async def drawn() -> object:
        answer = await look(api, sale, "buyer-1", tickets[1])
        return answer.status != 200 or answer.body["position"] is not None

    await wait_until(drawn, "the draw is held")

    async def revealed() -> dict[str, Any] | None:
        answer = await api.call("GET", f"/v1/sales/{sale}/queue/draw")
        return answer.body if answer.body["seed"] is not None else None

    after = await wait_until(revealed, "the seed is public")
    seed = bytes.fromhex(after["seed"])
    assert after["count"] == 8
    assert commitment_of(seed).hex() == before["commitment"] == after["commitment"]
    draw = Draw(seed, 8)
    for n in (1, 2, 4, 5, 6, 7, 8):
        seen = await look(api, sale, f"buyer-{n}", tickets[n])
        assert seen.body["position"] == draw.place_of(n)
    late = await place(api, sale, "late")
    assert late["position"] == 9
    # Two are let in: those with the first places, without the one who left.
    first = sorted((draw.place_of(n), n) for n in tickets if n != 3)[:2]
    for _, n in first:
        await admitted(api, sale, f"buyer-{n}", tickets[n])


async def test_a_sale_in_order_of_arrival_has_no_draw(api: Api) -> None:
    sale = await api.open_sale(waiting_room=ROOM)
    assert (await api.call("GET", f"/v1/sales/{sale}/queue/draw")).told == (409, "invalid_state")


async def test_the_page_that_checks_is_one_file(api: Api) -> None:
    page = await api.call("GET", "/queue/audit?sale=any")
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"src=" not in page.raw


async def test_metrics_show_the_room(api: Api) -> None:
    sale = await api.open_sale(waiting_room=NARROW_ROOM)
    first = (await place(api, sale, "buyer-1"))["ticket"]
    await place(api, sale, "buyer-2")
    await admitted(api, sale, "buyer-1", first)

    async def shown() -> bool:
        text = (await api.call("GET", "/metrics")).raw.decode()
        label = f'{{sale="{sale}"}}'
        return f"dropgate_queue_waiting{label} 1.0" in text and (
            f"dropgate_queue_admitted{label} 1.0" in text
        )

    await wait_until(shown, "the gauges show one inside and one who waits")
