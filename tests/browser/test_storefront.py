"""A visitor's whole drop in a real browser."""

import asyncio

import msgspec
import pytest
from playwright.async_api import Route, expect

from tests.browser.shop import Shop, from_now
from tests.browser.visitor import NewVisitor, answered
from tests.support.waiting import wait_until


async def test_countdown_opening_hold_payment_and_history(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(is_open=False, opens_at=from_now(600))
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("before")
    await expect(visitor.page.get_by_role("timer")).to_contain_text("9:")
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Night Runner")
    await shop.sale(
        name=sale, is_open=False, opens_at=from_now(6)
    )  # the page shows it already, so it may open soon
    await visitor.sees("buy")
    await visitor.page.get_by_label("Size 42").check()
    await visitor.does("reserve")
    await visitor.sees("held")
    assert await shop.units(sale) == {"available": 14, "held": 1, "sold": 0}
    await visitor.does("pay")
    await visitor.sees("ordered")
    history = visitor.page.get_by_role("list").get_by_role("listitem")
    await expect(history).to_have_count(2)
    await expect(history.nth(1)).to_contain_text("Paid")
    assert await shop.units(sale) == {"available": 14, "held": 0, "sold": 1}


async def test_a_reload_in_the_middle_of_a_reserve_finds_the_one_hold(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(per_buyer_limit=3)
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")
    asked: list[str] = []

    async def lose_answer(route: Route) -> None:
        """Let the first request through and lose its answer: the visitor reloads meanwhile."""
        asked.append(await route.request.header_value("idempotency-key") or "")
        if len(asked) == 1:
            await route.fetch()
            return
        await route.continue_()

    await visitor.page.route("**/reservations", lose_answer)
    await visitor.does("reserve")
    await wait_until(lambda: bool(asked), "the gateway is asked")

    async def held() -> bool:
        return (await shop.units(sale))["held"] == 1

    await wait_until(held, "the gateway holds a unit")
    await visitor.page.reload()
    await visitor.sees("held")
    assert await shop.units(sale) == {"available": 14, "held": 1, "sold": 0}
    assert len(set(asked)) == 1


async def test_two_tabs_are_one_buyer(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale()
    visitor = await new_visitor(f"/?sale={sale}")
    other = await visitor.tab(f"/?sale={sale}")
    await visitor.sees("buy")
    await visitor.sees("buy", other)
    await visitor.does("reserve")
    await visitor.sees("held")
    await visitor.sees("held", other)
    await visitor.does("cancel", other)
    await visitor.sees("buy")
    await visitor.does("reserve")
    await visitor.sees("held", other)
    await visitor.does("pay", other)
    await visitor.sees("ordered")
    assert await shop.units(sale) == {"available": 14, "held": 0, "sold": 1}


async def test_offline_and_back_holds_once(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale(per_buyer_limit=3)
    visitor = await new_visitor(f"/?sale={sale}", phone=True)
    await visitor.sees("buy")
    await visitor.context.set_offline(True)
    await visitor.does("reserve")
    await expect(visitor.page.locator("#trouble")).to_contain_text("offline")
    await visitor.context.set_offline(False)
    await visitor.sees("held")
    await expect(visitor.page.locator("#trouble")).to_be_hidden()
    assert await shop.units(sale) == {"available": 14, "held": 1, "sold": 0}


async def test_offline_before_the_shop_knows_the_visitor_holds_once(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(per_buyer_limit=3)
    visitor = await new_visitor("/ops")  # a page without the shop's session
    is_asked = asyncio.Event()

    async def lose(route: Route) -> None:
        is_asked.set()
        await route.abort("internetdisconnected")

    await visitor.page.route("**/demo/session", lose)
    await visitor.page.goto(f"{visitor.url}/?sale={sale}")
    await visitor.sees("buy")
    await visitor.does("reserve")
    await is_asked.wait()
    await expect(visitor.page.locator("#trouble")).to_contain_text("offline")
    await visitor.page.unroute_all()
    await visitor.sees("held")
    assert await shop.units(sale) == {"available": 14, "held": 1, "sold": 0}


async def test_a_payment_without_an_answer_is_repeated(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale()
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")
    await visitor.does("reserve")
    await visitor.sees("held")
    await visitor.page.route("**/demo/payments", lambda route: route.abort("connectionreset"))
    await visitor.does("pay")
    await expect(visitor.page.locator("#trouble")).to_contain_text("offline")
    await visitor.page.unroute_all()
    await visitor.sees("ordered")
    assert await shop.units(sale) == {"available": 14, "held": 0, "sold": 1}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(503, "recovering", "Nothing is lost"), (429, "rate_limited", "That was quick")],
)
async def test_what_passes_is_repeated_with_one_key_and_said_kindly(
    shop: Shop, new_visitor: NewVisitor, status: int, code: str, words: str
) -> None:
    sale = await shop.sale()
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")
    keys: list[str | None] = []
    is_said = asyncio.Event()

    async def refuse_until_said(route: Route) -> None:
        keys.append(await route.request.header_value("idempotency-key"))
        if is_said.is_set() and len(keys) > 2:
            await route.continue_()
        else:
            await answered(route, status, code, **{"Retry-After": "1"})

    await visitor.page.route("**/reservations", refuse_until_said)
    await visitor.does("reserve")
    await expect(visitor.page.locator("#trouble")).to_contain_text(words)
    is_said.set()
    await visitor.sees("held")
    assert len(set(keys)) == 1


async def test_a_hold_that_runs_out_says_so_and_lets_try_again(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(hold_seconds=2)
    visitor = await new_visitor(f"/?sale={sale}")
    hold_lapses = await visitor.held_back("**/v1/reservations/*")
    await visitor.sees("buy")
    await visitor.does("reserve")
    await visitor.sees("held")
    hold_lapses.set()
    await visitor.sees("lapsed")
    hold_lapses.clear()
    await visitor.does("again")
    await visitor.sees("buy")
    await visitor.does("reserve")
    await visitor.sees("held")
    hold_lapses.set()


async def test_sold_out_too_late_paused_over_and_missing(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale(stock=1)
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")
    # Somebody is faster, and the page does not know yet.
    await visitor.page.route(f"**/v1/sales/{sale}", lambda route: route.abort())
    await expect(
        visitor.page.locator("#trouble")
    ).to_be_visible()  # every earlier request has ended
    await shop.reserve(sale, "faster", "runner-41")
    await visitor.does("reserve")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("just went")
    await visitor.page.unroute_all()
    for size in (42, 43):
        await shop.reserve(sale, f"faster-{size}", f"runner-{size}")
    await visitor.sees("sold_out")
    await shop.state(sale, "close")
    await visitor.sees("over")

    other = await shop.sale()
    await visitor.page.goto(f"{shop.url}/?sale={other}")
    await visitor.sees("buy")
    await shop.state(other, "pause")
    await visitor.sees("paused")
    await shop.state(other, "resume")
    await visitor.sees("buy")
    await visitor.page.goto(f"{shop.url}/?sale=no-such-drop")
    await visitor.sees("missing")


async def test_a_limit_reached_elsewhere_is_shown_as_what_one_has(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    sale = await shop.sale()
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")

    async def known() -> str:
        # Polled from the test: the page's content policy forbids polling by evaluated code.
        return str(await visitor.page.evaluate("localStorage['dropgate:demo-visitor'] ?? ''"))

    kept = msgspec.json.decode(await wait_until(known, "the visitor is known"))
    await expect(
        visitor.page.locator("#demo-note")
    ).to_be_visible()  # the page has asked for the visitor's reservations
    await shop.reserve(sale, kept["buyer_id"])  # with another device
    await visitor.does("reserve")
    await visitor.sees("held")


async def test_by_keyboard_alone(shop: Shop, new_visitor: NewVisitor) -> None:
    sale = await shop.sale()
    visitor = await new_visitor(f"/?sale={sale}")
    await visitor.sees("buy")
    keyboard = visitor.page.keyboard
    await keyboard.press("Tab")
    await keyboard.press("ArrowRight")
    await expect(visitor.page.get_by_label("Size 42")).to_be_checked()
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await visitor.sees("held")
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await visitor.sees("ordered")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
async def test_every_stage_is_accessible(
    shop: Shop, new_visitor: NewVisitor, *, dark: bool, phone: bool
) -> None:
    soon = await shop.sale(is_open=False, opens_at=from_now(3600))
    visitor = await new_visitor(f"/?sale={soon}", dark=dark, phone=phone)
    await visitor.sees("before")
    await visitor.accessible()
    sale = await shop.sale(stock=1)
    await shop.reserve(sale, "somebody", "runner-43")
    await visitor.page.goto(f"{shop.url}/?sale={sale}")
    await visitor.sees("buy")
    await visitor.accessible()
    await visitor.does("reserve")
    await visitor.sees("held")
    await visitor.accessible()
    await visitor.does("pay")
    await expect(visitor.page.locator(".history li")).to_have_count(2)
    await visitor.accessible()
    wide = await visitor.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide, "the page scrolls sideways"
