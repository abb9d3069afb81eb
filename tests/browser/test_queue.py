"""A drop with a waiting room: the queue as its buyers see it, over real event streams."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import urlsplit

from playwright.async_api import Browser, Route, expect

from tests.browser.shop import Shop, from_now
from tests.browser.visitor import NewVisitor, Visitor
from tests.support.network.proxy import FaultyProxy

ROOM = {"max_active_buyers": 1, "admission_seconds": 120}
# The page has had an event of its stream.
HEARD = "() => Object.keys(sessionStorage).some((name) => name.endsWith('last_event'))"


async def joined(new_visitor: NewVisitor, sale: str) -> Visitor:
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("door")
    await visitor.does("join")
    return visitor


async def test_a_whole_drop_of_several_buyers(shop: Shop, new_visitor: NewVisitor) -> None:
    """Join before it opens, be drawn, wait, be let in one by one, buy; in the end all is sold."""
    room = {**ROOM, "order": "draw", "prequeue_at": from_now(-60)}

    async def opening(opens_at: str, name: str = "") -> str:
        return await shop.sale(
            name=name, stock=1, is_open=False, opens_at=opens_at, waiting_room=room
        )

    sale = await opening(from_now(3600))
    buyers = [await new_visitor(f"/?sale={sale}", phone=n == 0) for n in range(3)]
    for buyer in buyers:
        await buyer.sees("early_door")
        await buyer.does("join")
        await expect(buyer.page.locator("#stage")).to_contain_text("drawn")
    await buyers[1].page.reload()
    await opening(from_now(3), sale)  # only now: joining takes as long as it takes
    served: list[Visitor] = []
    for size in (41, 42, 43):
        waiting = [buyer for buyer in buyers if buyer not in served]
        turns = [
            asyncio.create_task(buyer.sees("buy"), name=str(n)) for n, buyer in enumerate(waiting)
        ]
        done, others = await asyncio.wait(turns, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        buyer = waiting[int(next(iter(done)).get_name())]
        await expect(buyer.page.locator("#stage")).to_contain_text("Your turn lasts")
        await buyer.page.get_by_label(f"Size {size}").check()
        await buyer.does("reserve")
        await buyer.sees("held")
        await buyer.does("pay")
        await buyer.sees("ordered")
        served.append(buyer)
    assert await shop.units(sale) == {"available": 0, "held": 0, "sold": 3}


async def test_the_stream_is_cut_and_comes_back(
    shop: Shop, browser: Browser, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(waiting_room=ROOM)
    first = await joined(new_visitor, sale)
    await first.sees("buy")
    async with FaultyProxy(urlsplit(shop.url).port or 0) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        second = await Visitor.arrived(browser, url, f"/?sale={sale}")
        await second.sees("door")
        await second.does("join")
        await second.sees("waiting")
        await second.page.wait_for_function(HEARD)
        async with second.page.expect_request("**/queue/events") as stream:
            proxy.cut()
        last_seen = await (await stream.value).header_value("last-event-id")
        assert last_seen, "it goes on after the last event it has seen"
        await first.does("reserve")
        await first.sees("held")
        await first.does("pay")
        await first.sees("ordered")
        await second.sees("buy")
        assert not second.complaints
        await second.context.close()


async def test_where_streams_are_cut_for_good_it_polls(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale(waiting_room=ROOM)
    first = await joined(new_visitor, sale)
    await first.sees("buy")
    second = await new_visitor(f"/?sale={sale}")
    await second.page.route("**/queue/events", lambda route: route.abort())
    await second.sees("door")
    await second.does("join")
    await second.sees("waiting")
    await first.does("reserve")
    await first.sees("held")
    await first.does("pay")
    await second.sees("buy")


async def test_a_turn_that_passes_is_said_and_another_place_is_offered(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(waiting_room={**ROOM, "admission_seconds": 3})
    visitor = await joined(new_visitor, sale)
    turn_passes = await visitor.held_back(f"**/v1/sales/{sale}/queue")
    await visitor.sees("buy")
    turn_passes.set()
    await visitor.sees("door")
    await expect(visitor.page.locator("#stage-title")).to_have_text("Your turn has passed")
    turn_passes.clear()
    await visitor.does("join")
    await visitor.sees("buy")
    turn_passes.set()


async def test_a_turn_has_passed_when_the_gateway_says_so(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    """A clock that runs ahead must not offer a new place early: it would be the old place."""
    sale = await shop.sale(waiting_room={**ROOM, "admission_seconds": 3})
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.page.route(f"**/v1/sales/{sale}", with_a_date_ahead)
    await visitor.sees("door")
    await visitor.does("join")
    await expect(visitor.page.locator("#stage-title")).to_have_text("Your turn has passed")
    async with visitor.page.expect_response(f"**/v1/sales/{sale}/queue") as answer:
        await visitor.does("join")
    assert (await (await answer.value).json())["position"] > 1


async def with_a_date_ahead(route: Route) -> None:
    answer = await route.fetch()
    ahead = parsedate_to_datetime(answer.headers["date"]) + timedelta(seconds=2)
    date = format_datetime(ahead, usegmt=True)
    await route.fulfill(response=answer, headers={**answer.headers, "date": date})


async def test_waiting_is_accessible(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale(waiting_room=ROOM)
    first = await joined(new_visitor, sale)
    await first.sees("buy")
    await first.accessible()
    second = await joined(new_visitor, sale)
    await second.sees("waiting")
    await second.accessible()
