"""A `dropgate up` that outlives whatever happens to it."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.up import Up

# Long time-outs, for tests of faults that callers must not notice: a slow moment is no fault.
UNHURRIED = {
    "DROPGATE_REDIS__SOCKET_TIMEOUT_SECONDS": "10",
    "DROPGATE_GATEWAY__MAX_QUEUE_MILLISECONDS": "10000",
}


@asynccontextmanager
async def running_up(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Up]:
    """A new `dropgate up`, which must still run at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="dropgate-chaos-"))
    running = Up(folder, arguments, environment)
    try:
        await running.start()
        yield running
        assert running.process.poll() is None, running.output
    finally:
        await running.stop()
        shutil.rmtree(folder, ignore_errors=True)
