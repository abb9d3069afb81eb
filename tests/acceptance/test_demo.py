"""The demonstration, on both event logs: a drop from nothing to the verdict."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from config.ready import ReadyFile
from tests.support.command import dropgate
from tests.support.waiting import wait_until

DEMO_TIMEOUT_SECONDS = 600.0
BUYERS = "5000"


def sold_out_and_proved(output: str) -> None:
    assert "2000 of 2000 sold" in output, output
    assert "100 of 100 units sold" in output, output
    assert "DOES NOT HOLD" not in output, output
    assert "broken" not in output, output


async def test_the_demo_through_kafka_ends_with_the_verdict(up_folder: Path) -> None:
    done = await dropgate(
        *("demo", "--once", "--buyers", BUYERS, "--event-log", "kafka"),
        *("--data-dir", str(up_folder / "data")),
        timeout_seconds=DEMO_TIMEOUT_SECONDS,
    )
    assert done.status == 0, done.output + done.errors
    sold_out_and_proved(done.output)


async def test_the_demo_serves_after_the_verdict_and_prints_ready_calls(up_folder: Path) -> None:
    data = up_folder / "data"
    log = up_folder / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [
                *(sys.executable, "-P", "-m", "config.cli", "demo", "--buyers", BUYERS),
                *("--data-dir", str(data)),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        await wait_until(
            lambda: "Ctrl-C stops everything" in log.read_text() or process.poll() is not None,
            "the demo prints its calls",
            timeout_seconds=DEMO_TIMEOUT_SECONDS,
        )
        assert process.poll() is None, log.read_text()
        sold_out_and_proved(log.read_text())
        ready = ReadyFile.read(data / "ready.json")
        text = log.read_text()
        script = text[text.index("URL=") : text.index("Pages:")]
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-e", "-c", script],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert '"problem' not in done.stdout, done.stdout
        for expected in ("201 Created", '"confirmed"', '"cancelled"', '"balanced":true'):
            assert expected in done.stdout, f"{expected} in\n{done.stdout}"
        pids = [pid for group in ready.pids.values() for pid in group]
        children = [psutil.Process(pid) for pid in pids]
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait, DEMO_TIMEOUT_SECONDS)
        assert not any(child.is_running() for child in children)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
