"""A program on a terminal of its own, where keys are typed as a person types them."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CTRL_C = b"\x03"
CTRL_Z = b"\x1a"
# In a new session: makes standard input the controlling terminal and becomes the program. Signals
# do what they do below an interactive shell, also where the tests run in the background.
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A running program and the other end of its terminal."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard

    def press(self, keys: bytes) -> None:
        """Type `keys`; Ctrl-C becomes a signal to every process in front."""
        os.write(self._keyboard, keys)


@contextmanager
def terminal(command: Sequence[str], output: Path, folder: Path) -> Iterator[Terminal]:
    """`command` in `folder` with its output in a file; killed at the block's end if it runs."""
    keyboard, screen = pty.openpty()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=screen,
            stdout=file,
            stderr=file,
            cwd=folder,
            start_new_session=True,
        )
    os.close(screen)
    try:
        yield Terminal(process, keyboard)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(keyboard)  # whatever is still in front is hung up
