"""Fixtures every test may use; each says where it lives."""

import signal

import pytest

pytest_plugins = ["tests.support.servers", "tests.support.up", "tests.support.api"]


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin for workers only where pytest-xdist is installed.

    What runs in the background of a shell ignores SIGINT, and so would every process that the tests
    start and interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.import_plugin("tests.support.workers")
