"""A crowd in a process of its own, so that the bench's own work is not in its way."""

import asyncio
import sys
from pathlib import Path

import msgspec

from loadtest.bench.herd.drop import DropHerd
from loadtest.bench.herd.queue import QueueHerd


async def run_crowd(herd: DropHerd | QueueHerd, folder: Path) -> int:
    """Run the crowd to its end; returns its exit status, 1 where a buyer was given up."""
    plan = folder / "herd.json"
    plan.write_bytes(msgspec.json.encode(herd))
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.bench.herd", str(plan))
    )
    try:
        return await crowd.wait()
    finally:
        if crowd.returncode is None:
            crowd.kill()
            await crowd.wait()
