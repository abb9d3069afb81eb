"""`dropgate loadtest`: a scenario of loadtest/scenarios, on a running stack or on its own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from config.commands.options import READY, Ready
from config.commands.own_up import OwnUp
from config.commands.shared import fail
from config.stack.process import StackError

SCENARIO_FILES = Path(__file__).parent.parent.parent / "loadtest" / "scenarios"
SCENARIOS = sorted(path.stem for path in SCENARIO_FILES.glob("*.toml"))


def loadtest(
    context: typer.Context,
    scenario: Annotated[
        str, typer.Argument(help=f"Scenario: one of {', '.join(SCENARIOS)}.", show_default=False)
    ],
    own_stack: Annotated[
        bool, typer.Option("--up", help="Start a dropgate up for the test, and stop it afterwards.")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Serve Locust's web UI instead of starting the load.")
    ] = False,
    ready_file: Ready = READY,
) -> None:
    """Load a running `dropgate up` with Locust; the verdict and the report set the exit status.

    All other options go to Locust: --users, --run-time, and the options of the scenario, such as
    --stock, --buyers, --rate and --shape. `locust -f FILE --help` lists them.
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
    """The ready file of a stack: of a running one, or of one that runs until the block ends."""
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
        up = OwnUp(folder / "data", folder / "ready.json")
        up.start()
        try:
            asyncio.run(up.wait_serving())
            yield up.ready_path
        except StackError as error:
            fail(str(error))
        finally:
            asyncio.run(up.stop())


def _run_to_its_end(command: Sequence[str]) -> int:
    """The program's exit status. Ctrl-C ends its load, too, and the verdict still follows."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
