"""Somebody with a browser of their own, and what their pages complained about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    Page,
    Route,
    ViewportSize,
    expect,
)

from tests.support.waiting import WAIT_SECONDS

PHONE = ViewportSize(width=390, height=844)
WIDE = ViewportSize(width=1280, height=860)
# A refusal is an answer the pages expect; Chromium writes it to the console all the same.
EXPECTED = "Failed to load resource"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

NewVisitor = Callable[..., Awaitable["Visitor"]]


@dataclass
class Visitor:
    """One browser context with one page; further pages are tabs of it."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def arrived(
        cls, browser: Browser, url: str, path: str, *, phone: bool = False, dark: bool = False
    ) -> Visitor:
        """A new person on a page."""
        context = await browser.new_context(
            viewport=PHONE if phone else WIDE,
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            reduced_motion="reduce",
            locale="en-GB",
        )
        context.set_default_timeout(1000 * WAIT_SECONDS)
        visitor = cls(context, await context.new_page(), url)
        visitor.watch(visitor.page)
        await visitor.page.goto(url + path)
        return visitor

    def watch(self, page: Page) -> None:
        """Collect what goes wrong in a page, and requests that leave for another origin."""
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{message.type}: {message.text}")
                if message.type in {"error", "warning"} and EXPECTED not in message.text
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                self.complaints.append(f"asked elsewhere: {request.url}")
                if not request.url.startswith((self.url, "data:"))
                else None
            ),
        )

    async def tab(self, path: str) -> Page:
        """Another tab of the same browser."""
        page = await self.context.new_page()
        self.watch(page)
        await page.goto(self.url + path)
        return page

    async def sees(self, stage: str, page: Page | None = None) -> None:
        """Wait until the storefront page is at a stage."""
        await expect((page or self.page).locator("#stage")).to_have_attribute("data-stage", stage)

    async def does(self, action: str, page: Page | None = None) -> None:
        """Press the button of an action."""
        await (page or self.page).click(f"[data-action={action}]")

    async def held_back(self, path: str) -> asyncio.Event:
        """The page's GETs of a path wait until the returned event is set: what the page would
        leave by itself stays to be seen.
        """
        passes = asyncio.Event()

        async def hold(route: Route) -> None:
            if route.request.method == "GET":
                await passes.wait()
            await route.continue_()

        await self.page.route(path, hold)
        return passes

    async def accessible(self, *parts: str) -> None:
        """No violation of WCAG 2.2 AA or of axe's best practices, in the page or in these parts."""
        context = {"include": [[part] for part in parts]} if parts else None
        found = await Axe().run(self.page, context=context, options=RULES)
        broken = [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found.response["violations"]
            for node in violation["nodes"]
        ]
        assert not broken, "\n".join(broken)


async def answered(route: Route, status: int, code: str, **headers: str) -> None:
    """Answer a request with a problem in the gateway's place."""
    body: dict[str, Any] = {"code": code, "status": status, "title": code, "detail": code}
    await route.fulfill(status=status, json=body, headers=headers)
