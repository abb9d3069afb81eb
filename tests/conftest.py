"""Fixtures every test may use; each says where it lives."""

import pytest

pytest_plugins = ["tests.support.servers", "tests.support.up", "tests.support.api"]


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin for workers only where pytest-xdist is installed."""
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.import_plugin("tests.support.workers")
