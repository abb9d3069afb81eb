"""Runs one program that dies with the process that asked for it.

Executed as a script (`python -I -S launch.py PARENT USER PROGRAM ARGUMENT…`), it takes on the USER
(`uid:gid`, or `-` for none), arms PR_SET_PDEATHSIG and becomes PROGRAM, so the pid stays.
A change of user disarms the signal, so the order matters. All of it happens outside the parent's
`fork`, where running Python code (`preexec_fn`) is not safe. The interpreter may lie in a folder
that USER cannot read.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# Conventional shell status for "found, but could not be run".
EXIT_NOT_RUN = 126


def main() -> None:
    """Take on the user, arm the death signal, check the parent is there, become the program."""
    parent, user, *argv = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL)) != 0:
        sys.exit(EXIT_NOT_RUN)
    if os.getppid() != int(parent):  # the parent died before the signal was armed
        sys.exit(EXIT_NOT_RUN)
    # The interpreter ignores SIGPIPE; a program that inherits that would not end with its reader.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.exit(EXIT_NOT_RUN)


if __name__ == "__main__":
    main()
