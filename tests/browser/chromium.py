"""The system's Chromium, headless."""

import shutil

from playwright.async_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


async def launch(playwright: Playwright) -> Browser:
    """A browser; each visitor has a context of their own in it."""
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    assert binary, "no Chromium: install it (Debian: apt-get install chromium)"
    return await playwright.chromium.launch(
        executable_path=binary,
        args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    )
