"""`python -m config.stack.foreground` below make, on a real terminal."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from config.stack import foreground
from tests.support.terminal import CTRL_C, CTRL_Z, Terminal, terminal
from tests.support.waiting import WAIT_SECONDS, wait_until_blocking

ROOT = Path(__file__).parents[3]
FOREGROUND = f"{sys.executable} -m config.stack.foreground "
# A program that ends well at Ctrl-C, as the demo does.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(int(sys.argv[1])))
print("running", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def below_make(folder: Path, before: str, status: int = 0) -> Iterator[Terminal]:
    """Make, in front of a terminal, with the program running in its one recipe."""
    (folder / "program.py").write_text(PROGRAM)
    makefile = folder / "Makefile"
    makefile.write_text(f"all:\n\t@{before}{sys.executable} {folder}/program.py {status}\n")
    output = folder / "output"
    with terminal(["make", "-f", str(makefile)], output, ROOT) as running:
        wait_until_blocking(lambda: "running" in output.read_text(), "the program runs")
        yield running


def test_ctrl_c_ends_make_with_the_status_of_its_command(tmp_path: Path) -> None:
    with below_make(tmp_path, FOREGROUND) as running:
        running.press(CTRL_C)
        assert running.process.wait(WAIT_SECONDS) == 0


def test_a_failure_at_ctrl_c_is_a_failure_of_make(tmp_path: Path) -> None:
    with below_make(tmp_path, FOREGROUND, status=3) as running:
        running.press(CTRL_C)
        assert running.process.wait(WAIT_SECONDS) == 2
    assert "Error 3" in (tmp_path / "output").read_text()


def test_without_it_make_ends_by_the_signal_whatever_its_command_says(tmp_path: Path) -> None:
    with below_make(tmp_path, before="") as running:
        running.press(CTRL_C)
        assert running.process.wait(WAIT_SECONDS) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_make_s_group_ends_the_program_too(
    tmp_path: Path, number: signal.Signals
) -> None:
    with below_make(tmp_path, FOREGROUND) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) >= 2
        os.killpg(running.process.pid, number)
        running.process.wait(WAIT_SECONDS)
        gone, left = psutil.wait_procs(children, WAIT_SECONDS)
    assert gone
    assert left == []


def test_ctrl_z_stops_make_and_its_command_goes_on_with_it(tmp_path: Path) -> None:
    with below_make(tmp_path, FOREGROUND) as running:
        make = psutil.Process(running.process.pid)
        running.press(CTRL_Z)
        wait_until_blocking(lambda: make.status() == psutil.STATUS_STOPPED, "make is stopped")
        os.killpg(make.pid, signal.SIGCONT)
        program = make.children(recursive=True)[-1]
        wait_until_blocking(
            lambda: program.status() != psutil.STATUS_STOPPED, "the program goes on"
        )
        running.press(CTRL_C)
        assert running.process.wait(WAIT_SECONDS) == 0


def test_without_a_terminal_it_becomes_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[str, list[str]]] = []

    class BecameError(Exception):
        pass

    def exec_(file: str, arguments: list[str]) -> None:
        became.append((file, arguments))
        raise BecameError

    monkeypatch.setattr(os, "execvp", exec_)
    monkeypatch.setattr(foreground, "_terminal_in_front", lambda: None)
    with pytest.raises(BecameError):
        foreground.run(["dropgate", "demo"])
    assert became == [("dropgate", ["dropgate", "demo"])]
