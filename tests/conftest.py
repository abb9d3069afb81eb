"""Fixtures every test may use; each says where it lives."""

pytest_plugins = ["tests.support.servers", "tests.support.up", "tests.support.api"]
