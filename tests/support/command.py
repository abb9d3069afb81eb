"""Runs `dropgate` commands as a shell would: to their end, or as a process beside the test."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings
from config.sources import environment_of
from tests.support.waiting import WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: str
    errors: str


async def dropgate(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_seconds: float = WAIT_SECONDS,
) -> Done:
    """Run `dropgate ARGUMENTS`; no DROPGATE_ variable is inherited, `environment` is added."""
    clean = {name: value for name, value in os.environ.items() if "DROPGATE_" not in name}

    def run() -> Done:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "config.cli", *arguments],
            env={**clean, **(environment or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return await asyncio.to_thread(run)


@contextmanager
def process_of(command: str, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """`dropgate COMMAND` as a process of its own with these settings alone, killed at the end."""
    clean = {name: value for name, value in os.environ.items() if "DROPGATE_" not in name}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "config.cli", command],
        env={**clean, **environment_of(settings)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
