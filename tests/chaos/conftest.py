"""One `dropgate up` with two gateway workers for all tests on the outbox."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.up import Up


@pytest_asyncio.fixture(scope="session")
async def up() -> AsyncIterator[Up]:
    """A running `dropgate up`; every test leaves it serving."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-chaos-"))
    event_log = os.environ.get("DROPGATE_TEST_EVENT_LOG") or "outbox"
    running = Up(folder, ["--workers", "2", "--event-log", event_log])
    try:
        await running.start()
        yield running
        assert running.process.poll() is None, running.output
    finally:
        await running.stop()
        shutil.rmtree(folder, ignore_errors=True)
