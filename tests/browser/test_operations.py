"""An operator's work on the operations page, in a real browser."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Route, expect

from tests.browser.shop import Shop
from tests.browser.visitor import NewVisitor, Visitor, answered
from tests.support.waiting import wait_until


class Operator:
    """Somebody at the operations page, signed in and looking at one sale."""

    def __init__(self, visitor: Visitor, sale: str) -> None:
        self.visitor = visitor
        self.page = visitor.page
        self.sale = sale

    def tile(self, name: str) -> Locator:
        """The value of a tile."""
        return self.page.locator("#tiles div", has_text=name).locator("dd")

    async def is_told(self, text: str) -> None:
        """Wait until the page shows this result."""
        await expect(self.page.locator("#notice")).to_contain_text(text)

    async def opens(self, tab: str) -> None:
        """Open a panel below the charts."""
        await self.page.get_by_role("tab", name=tab).click()

    async def types_to_confirm(self, action: str) -> None:
        """Confirm by typing the sale's id; the page accepts no other text."""
        dialog = self.page.get_by_role("dialog")
        submit = dialog.get_by_role("button", name=action, exact=True)
        await dialog.get_by_label("to go on").fill("something else")
        await expect(submit).to_be_disabled()
        await dialog.get_by_label("to go on").fill(self.sale)
        await submit.click()


@pytest_asyncio.fixture
async def operator(shop: Shop, new_visitor: NewVisitor) -> AsyncIterator[Operator]:
    sale = await shop.sale()
    yield await signed_in(shop, new_visitor, sale)


async def signed_in(
    shop: Shop, new_visitor: NewVisitor, sale: str, *, phone: bool = False, dark: bool = False
) -> Operator:
    visitor = await new_visitor(f"/ops#{sale}", phone=phone, dark=dark)
    await visitor.page.get_by_label("Token").fill(shop.token("ops", "alice"))
    await visitor.page.get_by_role("button", name="Look inside").click()
    operator = Operator(visitor, sale)
    await expect(visitor.page.locator("#sale-name")).to_have_text(sale)
    await expect(operator.tile("Available")).to_have_text(re.compile(r"\d"))
    return operator


async def test_only_a_token_of_scope_ops_opens_it(shop: Shop, new_visitor: NewVisitor) -> None:
    visitor = await new_visitor("/ops")
    wrong = visitor.page.get_by_role("alert")
    for token, code in (
        ("nonsense", "unauthenticated"),
        (shop.token("buyer", "somebody"), "forbidden"),
    ):
        await visitor.page.get_by_label("Token").fill(token)
        await visitor.page.get_by_role("button", name="Look inside").click()
        await expect(wrong).to_contain_text(code)
    await visitor.page.get_by_label("Token").fill(shop.token("ops", "alice"))
    await visitor.page.get_by_role("button", name="Look inside").click()
    await expect(visitor.page.locator("#desk")).to_be_visible()
    await visitor.page.reload()
    await expect(visitor.page.locator("#desk")).to_be_visible()
    assert await visitor.page.evaluate("localStorage.getItem('dropgate:ops-token')") is None
    other = await visitor.tab("/ops")
    await expect(other.get_by_label("Token")).to_be_visible()  # a token belongs to one tab
    await visitor.page.get_by_role("button", name="Forget the token").click()
    await expect(visitor.page.get_by_label("Token")).to_be_visible()
    assert await visitor.page.evaluate("sessionStorage.getItem('dropgate:ops-token')") is None


async def test_figures_and_charts_follow_the_sale(shop: Shop, operator: Operator) -> None:
    await expect(operator.tile("Available")).to_have_text("15")
    await asyncio.gather(*(shop.reserve(operator.sale, f"buyer-{n}") for n in range(4)))
    await expect(operator.tile("Available")).to_have_text("11")
    await expect(operator.tile("Held")).to_have_text("4")
    charts = operator.page.locator(".chart:visible")
    await expect(charts.locator("canvas").first).to_be_visible()
    await expect(charts.first.locator(".legend")).to_contain_text("available 11")
    await expect(operator.page.locator("#heard")).to_contain_text("as of")


async def test_a_sale_from_paused_to_settled(shop: Shop, operator: Operator) -> None:
    press = operator.page.locator("#buttons").get_by_role("button")
    state = operator.page.locator("#state")
    await press.filter(has_text="Pause").click()
    await operator.is_told("Paused.")
    await expect(state).to_have_text("paused")
    await press.filter(has_text="Resume").click()
    await expect(state).to_have_text("open")
    held = await shop.reserve(operator.sale, "buyer")
    await press.filter(has_text="Close").click()
    await operator.page.get_by_role("button", name="Leave it").click()
    await expect(state).to_have_text("open")
    await press.filter(has_text="Close").click()
    await operator.types_to_confirm("Close it")
    await expect(state).to_have_text("closed")
    await press.filter(has_text="Settle").click()
    await operator.types_to_confirm("Settle it")
    await operator.is_told("409 invalid_state")  # with what is in the way, and what to do
    await shop.call(
        "POST",
        f"/v1/reservations/{held}/confirm",
        {"payment_reference": "paid"},
        scope="storefront",
    )

    async def in_the_ledger() -> bool:
        order = await shop.call("GET", f"/v1/orders/{held}", scope="storefront")
        return bool(order["status"] == "CONFIRMED")

    await wait_until(in_the_ledger, "the ledger has the payment")
    await press.filter(has_text="Settle").click()
    await operator.types_to_confirm("Settle it")
    await operator.is_told("Settled.")
    await expect(state).to_have_text("settled")
    await expect(operator.tile("Sold")).to_have_text("1")


async def test_an_adjustment_is_previewed_made_and_audited(shop: Shop, operator: Operator) -> None:
    await operator.page.get_by_role("button", name="Adjust Night Runner, size 41").click()
    dialog = operator.page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Adjust", exact=True)
    await dialog.get_by_label("Units").fill("-6")
    await expect(dialog.get_by_role("status")).to_contain_text("refused: floor_violation")
    await dialog.get_by_label("Units").fill("-2")
    await expect(dialog.get_by_role("status")).to_contain_text("Available 5 → 3")
    await expect(submit).to_be_disabled()  # without a reason
    await dialog.get_by_label("Reason").fill("two were damaged")
    await submit.click()
    await operator.is_told("Adjusted runner-41.")
    assert await shop.units(operator.sale) == {"available": 13, "held": 0, "sold": 0}
    await operator.opens("Audit log")
    row = operator.page.get_by_role("row", name="stock adjustment asked")
    await expect(row).to_contain_text("alice")
    await expect(row).to_contain_text("two were damaged")


async def test_one_item_is_paused_alone(shop: Shop, operator: Operator) -> None:
    await operator.page.get_by_role("button", name="Pause Night Runner, size 42").click()
    await operator.is_told("Paused runner-42.")
    await expect(operator.tile("Paused items")).to_have_text("1")
    await operator.page.locator("#sale-name").focus()
    await operator.page.get_by_role("button", name="Resume Night Runner, size 42").click()
    await operator.is_told("Resumed runner-42.")
    assert (await shop.units(operator.sale))["available"] == 15


async def test_reconciliation_and_repair(operator: Operator) -> None:
    await operator.opens("Reconciliation")
    await operator.page.get_by_role("button", name="Compare now").click()
    await operator.is_told("Redis and the ledger agree.")
    await expect(operator.page.get_by_role("row", name="alice")).to_contain_text("balanced")
    await operator.page.get_by_role("button", name="Compare and repair").click()
    await operator.types_to_confirm("Repair")
    await expect(operator.page.get_by_role("row", name="alice")).to_have_count(2)
    await expect(operator.tile("Drift")).to_have_text("0")


async def test_a_long_comparison_shows_how_far_it_is(operator: Operator) -> None:
    run: dict[str, Any] = {
        "reconciliation_id": 77, "sale_id": operator.sale, "status": "requested", "apply": False,
        "balanced": None, "failure": None, "compared": 0, "to_compare": None, "differences": [],
        "watermarks": [], "rebuilds": [], "requested_by": "alice",
        "requested_at": "2026-11-21T12:50:53.312Z", "finished_at": None,
    }  # fmt: skip
    page, runs = operator.page, list[dict[str, Any]]()

    async def asked_or_listed(route: Route) -> None:
        if route.request.method == "POST":
            runs[:] = [run]
            await route.fulfill(status=202, json=run)
        else:
            await route.fulfill(json={"reconciliations": runs})

    async def shows(words: str) -> None:
        await expect(
            page.get_by_role("progressbar", name=f"Comparison 77: {words}")
        ).to_be_visible()

    await page.route("**/reconciliations", asked_or_listed)
    await page.route("**/reconciliations/77", lambda route: route.fulfill(json=run))
    await operator.opens("Reconciliation")
    await page.get_by_role("button", name="Compare now").click()
    await shows("waits for the reconciler")
    run |= {"status": "running", "compared": 8000, "to_compare": 20000}
    await shows("8,000 of 20,000 reservations")
    await expect(page.get_by_role("progressbar")).to_have_attribute("value", "8000")
    await operator.visitor.accessible()
    run |= {"status": "failed", "failure": "timed_out"}
    await operator.is_told("Comparison 77 failed: timed_out.")
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    run |= {"status": "running", "failure": None}
    await page.reload()
    await operator.opens("Reconciliation")
    await shows("8,000 of 20,000 reservations")
    await operator.opens("Items")  # it goes on without the page, and is there again
    await operator.opens("Reconciliation")
    await shows("8,000 of 20,000 reservations")
    run |= {"compared": 20000}
    await shows("20,000 of 20,000 reservations")
    run |= {"status": "done", "balanced": True}
    await expect(page.get_by_role("row", name="77")).to_contain_text("balanced")
    await expect(page.get_by_role("progressbar")).to_have_count(0)


async def test_a_buyers_holds_are_found(shop: Shop, operator: Operator) -> None:
    held = await shop.reserve(operator.sale, "buyer-7")
    await operator.opens("Buyers")
    found = operator.page.get_by_role("row", name=held)

    async def search() -> None:
        await operator.page.get_by_label("Buyer's id").fill("buyer-7")
        await operator.page.get_by_role("button", name="Search").click()

    await search()
    await expect(operator.page.locator("#panel [role=status] > *").first).to_be_visible()
    while not await found.count():  # the ledger is a moment behind
        await search()
    await expect(found).to_contain_text("PENDING")
    await expect(found).to_contain_text("runner-41")


async def test_dead_letters_are_shown_and_replayed(operator: Operator) -> None:
    letter = {
        "dead_letter_id": 17, "sale_id": operator.sale, "partition": 0, "epoch": 1, "sequence": 9,
        "reason": "refused", "error": "an order line never changes", "raw": "", "status": "dead",
        "created_at": "2026-11-21T12:50:53.312Z", "resolved_at": None,
    }  # fmt: skip
    page = operator.page
    await page.route(
        "**/v1/dead-letters",
        lambda route: route.fulfill(json={"dead_letters": [letter], "next_cursor": None}),
    )
    await page.route("**/replay", lambda route: answered(route, 409, "invalid_state"))
    await operator.opens("Dead letters")
    await expect(page.get_by_role("row", name="17")).to_contain_text("never changes")
    await page.get_by_role("button", name="Replay 17").click()
    await operator.is_told("409 invalid_state")
    await page.unroute("**/replay")
    await page.route("**/replay", lambda route: route.fulfill(json=letter))
    await page.get_by_role("button", name="Replay 17").click()
    await operator.is_told("Replayed 17.")


async def test_a_sale_that_somebody_else_changed_is_not_changed_blindly(
    shop: Shop, operator: Operator
) -> None:
    path = f"**/v1/sales/{operator.sale}/figures"
    await operator.page.route(path, lambda route: route.abort())
    await expect(operator.page.locator("#heard")).to_contain_text("no answer")
    await shop.state(operator.sale, "pause")
    await shop.state(operator.sale, "resume")
    await operator.page.locator("#buttons").get_by_role("button", name="Pause").click()
    await operator.is_told("412 version_mismatch")
    await operator.page.unroute(path)
    await expect(operator.page.locator("#heard")).to_contain_text("as of")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
async def test_the_desk_is_accessible(
    shop: Shop, new_visitor: NewVisitor, *, dark: bool, phone: bool
) -> None:
    sale = await shop.sale()
    await shop.reserve(sale, "buyer")
    operator = await signed_in(shop, new_visitor, sale, dark=dark, phone=phone)
    await expect(operator.page.locator(".chart:visible canvas").first).to_be_visible()
    for tab in ("Items", "Reconciliation", "Dead letters", "Buyers", "Audit log"):
        await operator.opens(tab)
        await operator.visitor.accessible()
    await operator.opens("Items")
    await operator.page.get_by_role("button", name="Adjust Night Runner, size 41").click()
    await operator.visitor.accessible()
    wide = await operator.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide, "the page scrolls sideways"
