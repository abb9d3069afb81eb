"""The servers of the script tests."""

from tests.support.scripts.fixtures import server

__all__ = ["server"]
