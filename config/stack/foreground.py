"""Runs a command as a job of its own on the terminal: Ctrl-C reaches that command alone.

`make` ends by the Ctrl-C that it gets too, whatever its command says. Run through this module a
command gets the terminal as from a shell, and its exit status becomes make's.

    python -m config.stack.foreground COMMAND …
"""

import os
import signal
import subprocess
import sys
from types import FrameType


def run(command: list[str]) -> int:
    """Run `command` to its end and return its status as a shell would.

    Without a terminal, or in the background of one, it takes this process's place and nothing is
    changed.
    """
    terminal = _terminal_in_front()
    if terminal is None:
        os.execvp(command[0], command)  # noqa: S606 - the command is the caller's own
    ours = os.getpgrp()
    # The command starts as the leader of a group; signals sent to this process are passed on to it.
    child = subprocess.Popen(command, process_group=0)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.killpg(child.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # so that the terminal can be taken back
    while True:
        _hand_over(terminal, ours, child.pid)
        os.killpg(child.pid, signal.SIGCONT)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        _hand_over(terminal, child.pid, ours)
        if not os.WIFSTOPPED(status):
            break
        os.killpg(ours, signal.SIGSTOP)  # Ctrl-Z: the shell shall see make stop; `fg` goes on here
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _hand_over(terminal: int, holder: int, heir: int) -> None:
    """Put the group `heir` in front, unless by now a group other than `holder` is there."""
    if os.tcgetpgrp(terminal) == holder:
        os.tcsetpgrp(terminal, heir)


def _terminal_in_front() -> int | None:
    """The controlling terminal, if this process is in its foreground."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        in_front = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return None
    return terminal if in_front else None


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
