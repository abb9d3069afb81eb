"""One `dropgate up` with two gateway workers for all tests on the outbox."""

import os
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.rig import running_up
from tests.support.up import Up


@pytest_asyncio.fixture(scope="session")
async def up() -> AsyncIterator[Up]:
    """Every test leaves it serving."""
    event_log = os.environ.get("DROPGATE_TEST_EVENT_LOG") or "outbox"
    async with running_up("--workers", "2", "--event-log", event_log) as running:
        yield running
