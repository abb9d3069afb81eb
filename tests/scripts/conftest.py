"""A server per binary found, and a fresh rig on it for every test."""

from collections.abc import Iterator

import pytest
import redis

from tests.scripts.harness import Rig
from tests.scripts.server import RedisServer, redis_binaries, running_server, server_name


@pytest.fixture(scope="session", params=redis_binaries(), ids=server_name)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A real server; tests empty it."""
    with running_server(request.param) as running:
        yield running


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
