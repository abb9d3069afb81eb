"""The systems that all chaos tests share, each with two gateway workers: a plain `dropgate up`, a
patient `dropgate up`, and a `dropgate up` whose Redis has replicas and a Sentinel.
"""

import os
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.rig.running import UNHURRIED, running_up
from tests.chaos.rig.watched import WatchedUp, running_watched_up
from tests.support.up import Up


@pytest_asyncio.fixture(scope="session")
async def up() -> AsyncIterator[Up]:
    """Every test leaves it serving."""
    async with running_up("--workers", "2", "--event-log", _event_log()) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def unhurried_up() -> AsyncIterator[Up]:
    """Every test leaves it serving. See `UNHURRIED`."""
    arguments = ("--workers", "2", "--event-log", _event_log())
    async with running_up(*arguments, environment=UNHURRIED) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def watched_up() -> AsyncIterator[WatchedUp]:
    """Every test leaves it serving, with two replicas beside a primary."""
    async with running_watched_up(_event_log()) as running:
        yield running


def _event_log() -> str:
    return os.environ.get("DROPGATE_TEST_EVENT_LOG") or "outbox"
