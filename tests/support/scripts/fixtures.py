"""The servers that the tests of the scripts and the property tests run on."""

from collections.abc import Iterator

import pytest

from tests.support.scripts.server import RedisServer, redis_binaries, running_server, server_name


@pytest.fixture(scope="session", params=redis_binaries(), ids=server_name)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A real server of each binary found; tests empty it."""
    with running_server(request.param) as running:
        yield running
