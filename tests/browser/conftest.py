"""A real Chromium on a real `dropgate up`, both shared by all tests here."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import launch
from tests.browser.shop import Shop
from tests.browser.visitor import NewVisitor, Visitor
from tests.support.up import PATIENT, Up
from tests.support.waiting import WAIT_SECONDS

expect.set_options(timeout=1000 * WAIT_SECONDS)


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless; each visitor has a context of their own in it."""
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session")
async def shop() -> AsyncIterator[Shop]:
    """Two gateway workers with the demo shop, and everything behind them."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-browser-"))
    up = Up(folder, ["--demo-shop", "--workers", "2"], environment=PATIENT)
    try:
        ready = await up.start()
        async with aiohttp.ClientSession() as session:
            yield Shop(session, ready.gateway, ready.auth_secret)
    finally:
        await up.clean()


@pytest_asyncio.fixture
async def new_visitor(browser: Browser, shop: Shop) -> AsyncIterator[NewVisitor]:
    """Opens a page as somebody new. In the end no page may have complained or asked elsewhere."""
    visitors: list[Visitor] = []

    async def make(path: str, **options: bool) -> Visitor:
        visitor = await Visitor.arrived(browser, shop.url, path, **options)
        visitors.append(visitor)
        return visitor

    yield make
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    await asyncio.gather(*(visitor.context.close() for visitor in visitors))
    assert not complaints
