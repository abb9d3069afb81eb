"""The pages that explain: the description of the API, and the draw that anybody can check."""

import pytest
from playwright.async_api import expect

from tests.browser.shop import Shop, from_now
from tests.browser.visitor import NewVisitor
from tests.support.waiting import wait_until

DRAW = {"max_active_buyers": 1, "admission_seconds": 600, "order": "draw"}
BUYERS = 9


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_description_of_the_api_needs_nothing_from_elsewhere(
    new_visitor: NewVisitor, *, dark: bool
) -> None:
    visitor = await new_visitor("/docs", dark=dark)
    await expect(visitor.page.get_by_text("/v1/sales/{sale}/reservations").first).to_be_visible()
    # One call of each kind stands for all: the page is made of the same pieces, a great many times.
    await visitor.accessible("nav", "header", "#reserve", "#settle_sale", "#type-ReserveBody")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_a_buyer_recomputes_the_draw_in_the_browser(
    new_visitor: NewVisitor, shop: Shop, *, dark: bool
) -> None:
    sale = await shop.sale(is_open=False, opens_at=from_now(3600), waiting_room=DRAW)
    path = f"/v1/sales/{sale}/queue"
    tickets = [
        (await shop.call("POST", path, scope="buyer", subject=f"buyer-{n}"))["ticket"]
        for n in range(BUYERS)
    ]
    await shop.state(sale, "open")

    async def places() -> list[int] | None:
        told = [
            await shop.call("GET", path, scope="buyer", subject=f"buyer-{n}", Queue_Ticket=ticket)
            for n, ticket in enumerate(tickets)
        ]
        found = [one["position"] for one in told]
        return None if None in found else found

    drawn = await wait_until(places, "the draw is held")
    assert sorted(drawn) == list(range(1, BUYERS + 1))
    visitor = await new_visitor(f"/queue/audit?sale={sale}", dark=dark)
    page = visitor.page
    await expect(page.locator("#result .good").first).to_be_visible()
    await page.fill("#ticket", tickets[3])
    await page.click("button")
    await expect(page.locator("#result")).to_contain_text(f"{drawn[3]}")
    await expect(page.locator("#result .bad")).to_have_count(0)
    await visitor.accessible()
