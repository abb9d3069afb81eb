"""The load generator: wrk, with a Lua script that makes every request another buyer's."""

import asyncio
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

SCRIPT = Path(__file__).with_name("buyers.lua")
RESULT = "bench-result "
# Beside the run itself: reading the tokens, and wrk's own time-out of requests under way.
OVERHEAD_SECONDS = 30.0
TIMEOUT_SECONDS = 10


class WrkError(Exception):
    """wrk is missing, or did not run to its end."""


class WrkResult(msgspec.Struct, frozen=True):
    """One run's result: `refused` answers were outside 2xx and 3xx, `failed` requests had none."""

    requests: int
    seconds: float
    refused: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    laps: int
    generator_share: float = 0.0  # of one core

    @property
    def accepted_per_second(self) -> float:
        """2xx answers per second."""
        return (self.requests - self.refused) / self.seconds

    @property
    def refused_per_second(self) -> float:
        """Answers outside 2xx and 3xx per second."""
        return self.refused / self.seconds


@dataclass(frozen=True, slots=True)
class Load:
    """One run's load. The buyers are lines `first` to `first + count` of `tokens`."""

    url: str
    path: str
    tokens: Path
    first: int
    count: int
    connections: int
    seconds: float
    key_prefix: str
    per_second: int = 0
    threads: int = 1


def require_wrk() -> None:
    """Raise WrkError, naming the next step, where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise WrkError("wrk is missing: install it (Debian: apt-get install wrk)")


def parse_output(output: str) -> WrkResult:
    """The result in what wrk printed; raises WrkError with the output where there is none."""
    for line in output.splitlines():
        if line.startswith(RESULT):
            try:
                return msgspec.json.decode(line[len(RESULT) :], type=WrkResult)
            except msgspec.DecodeError as error:
                raise WrkError(f"wrk's result is not readable: {line}") from error
    raise WrkError(f"wrk gave no result:\n{output}")


def command_of(load: Load) -> list[str]:
    """The command line; wrk takes whole seconds only."""
    return [
        *("wrk", f"-t{load.threads}", f"-c{load.connections}"),
        *(f"-d{max(1, round(load.seconds))}s", f"--timeout={TIMEOUT_SECONDS}s"),
        *("-s", str(SCRIPT), load.url + load.path, "--"),
        *(str(load.tokens), str(load.first), str(load.count), str(load.threads)),
        *(load.path, urlsplit(load.url).netloc, load.key_prefix, str(load.per_second)),
    ]


async def run_wrk(load: Load) -> WrkResult:
    """Run one load to its end. Raises WrkError."""
    require_wrk()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = await asyncio.create_subprocess_exec(
        *command_of(load), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(load.seconds + OVERHEAD_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise WrkError(f"wrk did not end in {load.seconds + OVERHEAD_SECONDS} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = parse_output(output.decode(errors="replace"))
    return msgspec.structs.replace(result, generator_share=used / result.seconds)
