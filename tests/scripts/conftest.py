"""A server per binary found, and a fresh rig on it for every test."""

from collections.abc import Iterator

import pytest
import redis

from tests.support.scripts.fixtures import server
from tests.support.scripts.harness import Rig
from tests.support.scripts.server import RedisServer

__all__ = ["server"]


@pytest.fixture
def rig(server: RedisServer) -> Iterator[Rig]:
    """An empty server under the scripts."""
    with server.connect() as client:
        yield Rig(client)


@pytest.fixture
def server_client(server: RedisServer) -> Iterator[redis.Redis]:
    """Connects, once it is used, as the user `limited` of the tests of failing writes."""
    with server.connect(username="limited") as client:
        yield client
