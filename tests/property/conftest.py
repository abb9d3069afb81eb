"""The servers of the script tests."""

from tests.scripts.conftest import server

__all__ = ["server"]
