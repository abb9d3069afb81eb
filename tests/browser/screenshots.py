"""Makes the pictures of the documentation: the pages as they are, during a drop that really runs.

`make screenshots` runs it; what it writes is looked at and committed.
"""

import asyncio
import random
import tempfile
from pathlib import Path

import aiohttp
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import launch
from tests.browser.shop import Shop, from_now
from tests.browser.visitor import Visitor
from tests.support.up import Up

IMAGES = Path(__file__).parents[2] / "docs" / "images"
ROOM = {"max_active_buyers": 40, "admission_seconds": 300}
DROP_SECONDS = 45
WIDE_HEIGHT = 1120


async def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    up = Up(Path(tempfile.mkdtemp(prefix="dropgate-pictures-")), ["--demo-shop", "--workers", "2"])
    try:
        ready = await up.start()
        async with aiohttp.ClientSession() as session, async_playwright() as playwright:
            shop = Shop(session, ready.gateway, ready.auth_secret)
            browser = await launch(playwright)
            await _phone(browser, shop)
            await _wide(browser, shop)
            await _desk(browser, shop)
            await browser.close()
    finally:
        await up.clean()


async def _picture(visitor: Visitor, name: str) -> None:
    await visitor.page.evaluate("document.fonts.ready")
    await visitor.page.screenshot(path=IMAGES / f"{name}.png")


async def _phone(browser: Browser, shop: Shop) -> None:
    """One buyer's way through a drop."""
    room = {**ROOM, "max_active_buyers": 1}
    soon = await shop.sale(
        name="night-run-two",
        is_open=False,
        opens_at=from_now(754),
        waiting_room={**room, "prequeue_at": from_now(-600)},
    )
    buyer = await Visitor.arrived(browser, shop.url, f"/?sale={soon}", phone=True)
    await buyer.sees("early_door")
    await _picture(buyer, "storefront-before")
    sale = await shop.sale(name="night-run", stock=80, waiting_room=room)
    await buyer.page.goto(f"{shop.url}/?sale={sale}")
    await buyer.sees("door")
    await buyer.does("join")
    await buyer.sees("buy")
    others = [await _queued(shop, sale, f"early-{n}") for n in range(3)]
    late = await Visitor.arrived(browser, shop.url, f"/?sale={sale}", phone=True)
    await late.sees("door")
    await late.does("join")
    await late.sees("waiting")
    await expect(late.page.locator(".facts")).to_contain_text(str(len(others)))
    await _picture(late, "storefront-queue")
    await buyer.does("reserve")
    await buyer.sees("held")
    await asyncio.sleep(3)  # a countdown that runs
    await _picture(buyer, "storefront-hold")
    await buyer.does("pay")
    await expect(buyer.page.locator(".history li")).to_have_count(2)
    await _picture(buyer, "storefront-order")
    await buyer.context.close()
    await late.context.close()


async def _queued(shop: Shop, sale: str, buyer: str) -> str:
    path = f"/v1/sales/{sale}/queue"
    return str((await shop.call("POST", path, scope="buyer", subject=buyer))["ticket"])


async def _wide(browser: Browser, shop: Shop) -> None:
    sale = await shop.sale(name="dawn-patrol", stock=20, per_buyer_limit=2)
    await asyncio.gather(*(shop.reserve(sale, f"quick-{n}", "runner-43") for n in range(19)))
    await asyncio.gather(*(shop.reserve(sale, f"first-{n}", "runner-41") for n in range(20)))
    visitor = await Visitor.arrived(browser, shop.url, f"/?sale={sale}", dark=True)
    await visitor.sees("buy")
    await expect(visitor.page.get_by_text("Few left")).to_be_visible()
    await _picture(visitor, "storefront-open-dark")
    await visitor.context.close()


async def _desk(browser: Browser, shop: Shop) -> None:
    """The operations page after some of a drop."""
    sale = await shop.sale(
        name="summer-drop", stock=900, hold_seconds=8, per_buyer_limit=2, waiting_room=ROOM
    )
    await shop.call("POST", f"/v1/sales/{sale}/reconciliations", {})
    pictures = [
        await Visitor.arrived(browser, shop.url, f"/ops#{sale}", dark=dark)
        for dark in (False, True)
    ]
    for operator in pictures:
        await operator.page.set_viewport_size({"width": 1280, "height": WIDE_HEIGHT})
        await operator.page.get_by_label("Token").fill(shop.token("ops", "alice"))
        await operator.page.get_by_role("button", name="Look inside").click()
        await expect(operator.page.locator("#sale-name")).to_have_text(sale)
    crowd = asyncio.create_task(_crowd(shop, sale))
    await asyncio.sleep(DROP_SECONDS)
    for operator, name in zip(pictures, ("operations", "operations-dark"), strict=True):
        await _picture(operator, name)
        await operator.context.close()
    crowd.cancel()
    await asyncio.gather(crowd, return_exceptions=True)


async def _crowd(shop: Shop, sale: str) -> None:
    """Buyers who arrive in waves, wait, reserve, and mostly pay."""
    chance = random.Random(7)
    async with asyncio.TaskGroup() as group:
        for number in range(100_000):
            group.create_task(_buyer(shop, sale, f"buyer-{number}", chance))
            await asyncio.sleep(chance.expovariate(25 if number % 600 < 400 else 60))


async def _buyer(shop: Shop, sale: str, name: str, chance: random.Random) -> None:
    as_buyer = {"scope": "buyer", "subject": name}
    queue = f"/v1/sales/{sale}/queue"
    try:
        place = await shop.call("POST", queue, **as_buyer)
        while place["state"] == "waiting":
            await asyncio.sleep(1)
            place = await shop.call("GET", queue, **as_buyer, Queue_Ticket=place["ticket"])
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        quantity = 3 if chance.random() < 0.1 else 1  # some want more than they may have
        held = await shop.call(
            "POST",
            f"/v1/sales/{sale}/reservations",
            {"lines": [{"sku": f"runner-{chance.choice((41, 42, 43))}", "quantity": quantity}]},
            **as_buyer,
            Idempotency_Key="key",
            Admission_Token=place["admission_token"],
        )
        await asyncio.sleep(chance.uniform(0.5, 9))
        await shop.call(
            "POST",
            f"/v1/reservations/{held['reservation_id']}/confirm",
            {"payment_reference": name},
            scope="storefront",
            subject="shop",
        )
    except (AssertionError, aiohttp.ClientError):
        return  # refused, or too late: that is a drop


if __name__ == "__main__":
    asyncio.run(main())
