"""Facts of the machine and of the servers, without which a number says nothing."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import asyncpg
import msgspec
from redis.asyncio import Redis

from loadtest.bench.machine.queries import QUERIES


class Facts(msgspec.Struct, frozen=True):
    """The facts of a run, printed above every table."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    redis: str
    postgres: str
    wrk: str
    durability: str
    load_average_before: float  # mean of the last minute; near 0 on an idle machine


def cpu_model(cpuinfo: str) -> str:
    """The model name in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def memory_gib(meminfo: str) -> float:
    """Total memory in the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return 0.0


def wrk_version() -> str:
    """The name and version that `wrk -v` prints, or `missing`."""
    if shutil.which("wrk") is None:
        return "missing"
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(output.split()[:2])


async def gather_facts(redis_url: str, dsn: str, load_average: float) -> Facts:
    """Ask the machine and both servers."""
    redis = Redis.from_url(redis_url, protocol=2, decode_responses=True)
    try:
        server = await redis.info("server")
        modes = await redis.config_get("append*")
    finally:
        await redis.aclose()
    connection = await asyncpg.connect(dsn)
    try:
        version = connection.get_server_version()
        commit = await connection.fetchval(QUERIES["durability"])
    finally:
        await connection.close()
    aof = f"appendonly {modes['appendonly']}, appendfsync {modes['appendfsync']}"
    return Facts(
        cpu=cpu_model(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 0,
        memory_gib=memory_gib(Path("/proc/meminfo").read_text()),
        kernel=platform.release(),
        python=platform.python_version(),
        redis=str(server["redis_version"]),
        postgres=f"{version.major}.{version.minor}",
        wrk=wrk_version(),
        durability=f"fsync (Redis {aof}; Postgres synchronous_commit {commit})",
        load_average_before=load_average,
    )
