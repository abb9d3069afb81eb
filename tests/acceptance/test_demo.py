"""The demonstration, on both event logs: a drop from nothing to the verdict."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil

from config.ready import ReadyFile
from tests.support.command import dropgate
from tests.support.terminal import CTRL_C, terminal
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
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


async def test_the_demo_serves_after_the_verdict_until_ctrl_c(up_folder: Path) -> None:
    data = up_folder / "data"
    log = up_folder / "demo.log"
    make = [
        *("make", "-o", ".venv/.setup-done", "demo"),  # these tests run: set-up is done
        f"BIN={Path(sys.executable).parent}",
        f"DEMO_ARGS=--buyers {BUYERS} --data-dir {data}",
    ]
    with terminal(make, log, ROOT) as running:
        await wait_until(
            lambda: (
                "Ctrl-C stops everything" in log.read_text() or running.process.poll() is not None
            ),
            "the demo prints its calls",
            timeout_seconds=DEMO_TIMEOUT_SECONDS,
        )
        assert running.process.poll() is None, log.read_text()
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
        running.press(CTRL_C)
        assert await asyncio.to_thread(running.process.wait, DEMO_TIMEOUT_SECONDS) == 0
        assert not any(child.is_running() for child in children)
