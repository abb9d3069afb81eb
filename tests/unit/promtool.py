"""Prometheus' own tool, which checks whether Prometheus accepts a file."""

import shutil
import subprocess

from tests.support.waiting import WAIT_SECONDS


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it; without it the test fails and says what to install."""
    path = shutil.which("promtool")
    assert path, "no promtool: install it (Debian: apt-get install prometheus)"
    return subprocess.run(
        [path, *arguments], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
