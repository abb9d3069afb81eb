"""One run of schemathesis against a gateway, in a process of its own, and its outcome."""

import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

ENVIRONMENT = "DROPGATE_TEST_RUN"
CONFIG = Path(__file__).with_name("schemathesis.toml")
RUN_TIMEOUT_SECONDS = 600.0


class Run(msgspec.Struct, frozen=True):
    """The input of a run: `tokens` by scope in order of preference, the open `sales`, and the
    sales with a waiting room (`rooms`). `plain_sales`
    keeps PUT to sales that can be opened; the status it `forgets` is left out of the document.
    """

    tokens: dict[str, str]
    sales: tuple[str, ...]
    rooms: tuple[str, ...]
    skus: tuple[str, ...] = ("print-a2", "poster")
    locations: tuple[str, ...] = ("berlin", "lyon")
    buyer_id: str = "buyer-17"
    plain_sales: bool = False
    forgets: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What schemathesis said, and how often each operation was answered with which status."""

    status: int
    said: str
    answers: Counter[tuple[str, int]]
    links: Counter[str]

    def succeeded(self) -> set[str]:
        """`METHOD /path` of every operation that did what it was asked at least once."""
        return {label for label, status in self.answers if status < 300}


async def schemathesis(
    gateway: str, run: Run, folder: Path, *, seed: int, examples: int, arguments: tuple[str, ...]
) -> Outcome:
    """Run every check; `examples` is the number of cases per operation, and of walks."""
    folder.mkdir()
    described, report = folder / "run.json", folder / "report.ndjson"
    described.write_bytes(msgspec.json.encode(run))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
        *(f"{gateway}/openapi.json", "--checks", "all", "--continue-on-failure", "--no-color"),
        *("--seed", str(seed), "--max-examples", str(examples), "--no-shrink"),
        *("--warnings", "off", "--report", "ndjson", "--report-ndjson-path", str(report)),
        *arguments,
        env={
            **os.environ,
            ENVIRONMENT: str(described),
            "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
        },
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    answers, links = _counted(report)
    return Outcome(process.returncode or 0, said.decode(), answers, links)


def _counted(report: Path) -> tuple[Counter[tuple[str, int]], Counter[str]]:
    answers: Counter[tuple[str, int]] = Counter()
    links: Counter[str] = Counter()
    for line in report.read_bytes().splitlines():
        event: dict[str, Any] = msgspec.json.decode(line)
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        cases = recorder.get("cases", {})
        for number, interaction in recorder.get("interactions", {}).items():
            case, response = cases.get(number, {}), interaction.get("response")
            if not response or "value" not in case:
                continue
            status = response["status_code"]
            answers[f"{case['value']['method']} {case['value']['path']}", status] += 1
            if case.get("transition") and status < 300:
                links[case["transition"]["id"]] += 1
    return answers, links
