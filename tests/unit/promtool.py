"""Prometheus' own tool, which knows whether a file is one that Prometheus takes."""

import os
import shutil
import subprocess

import pytest

from tests.support.waiting import WAIT_SECONDS


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it on the rules; where it is missing say what to install, and fail in CI."""
    path = shutil.which("promtool")
    if path is None:
        missing = "promtool is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return subprocess.run(
        [path, *arguments], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
