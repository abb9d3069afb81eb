"""`dropgate loadtest`: a scenario of loadtest/scenarios against a running system, or its own."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from config.commands.options import READY, Ready
from config.commands.shared import fail
from config.stack.process import POLL_SECONDS, Child, dropgate_command

SCENARIO_FILES = Path(__file__).parent.parent.parent / "loadtest" / "scenarios"
SCENARIOS = sorted(path.stem for path in SCENARIO_FILES.glob("*.toml"))
UP_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 15.0


def loadtest(
    context: typer.Context,
    scenario: Annotated[
        str, typer.Argument(help=f"One of {', '.join(SCENARIOS)}.", show_default=False)
    ],
    own_stack: Annotated[
        bool, typer.Option("--up", help="Start dropgate up for it, and stop it afterwards.")
    ] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve Locust's web UI instead.")] = False,
    ready_file: Ready = READY,
) -> None:
    """Load a running `dropgate up` with Locust; then the verdict, a report, and their exit status.

    Everything else is for Locust: --users, --run-time, and what `locust -f FILE --help` lists under
    its own and the scenario's options, such as --stock, --buyers, --rate and --shape.
    """
    if scenario not in SCENARIOS:
        fail(f"there is no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
    command = [
        *(sys.executable, "-m", "locust", "-f", str(SCENARIO_FILES / f"{scenario}.py")),
        *(("--web-host", "127.0.0.1") if web else ("--headless", "--only-summary")),
        *context.args,
    ]
    with _stack_for(ready_file, own_stack) as ready_path:
        where = ("--ready-file", str(ready_path.absolute()))
        status = _run_to_its_end([*command, *where])
    raise typer.Exit(status)


@contextmanager
def _stack_for(ready_file: Path, own_stack: bool) -> Iterator[Path]:
    """The ready file of a running stack: the one named, or one started for the block."""
    if not own_stack:
        if not ready_file.exists():
            fail(
                f"no ready file at {ready_file}: start dropgate up, name it with --ready-file, or "
                "say --up for a stack of its own"
            )
        yield ready_file
        return
    with TemporaryDirectory(prefix="dropgate-load-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # Postgres may run as another user below it
        ready_path = folder / "ready.json"
        up = Child(
            dropgate_command(
                *("up", "--port", "0", "--data-dir", str(folder / "data")),
                *("--ready-file", str(ready_path)),
            ),
            log=folder / "up.log",
        )
        up.start()
        try:
            deadline = time.monotonic() + UP_TIMEOUT_SECONDS
            while not ready_path.exists():
                if not up.alive or time.monotonic() >= deadline:
                    fail(f"dropgate up did not come up:\n{up.log_tail()}")
                time.sleep(POLL_SECONDS)
            yield ready_path
        finally:
            asyncio.run(up.stop(STOP_TIMEOUT_SECONDS))


def _run_to_its_end(command: Sequence[str]) -> int:
    """Ctrl-C reaches the program, too: it ends the load, and then it still judges."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
