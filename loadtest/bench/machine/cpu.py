"""CPU time of processes, from /proc: what a request costs, however busy the machine is."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def parse_stat(stat: str) -> tuple[int, float]:
    """(parent pid, CPU seconds with those of ended children) of the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    return int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_SECOND


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of these processes and of their children, living and ended."""
    wanted = set(pids)
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            parent, seconds = parse_stat((entry / "stat").read_text())
            if int(entry.name) in wanted or parent in wanted:
                total += seconds
    return total
