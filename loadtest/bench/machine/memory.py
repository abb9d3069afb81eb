"""Memory that processes took, from /proc."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def parse_peak_kib(status: str) -> int:
    """The most resident memory so far, in the text of /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def peak_rss_mib(pids: Iterable[int]) -> float:
    """The peaks of these processes, summed; one that has ended counts nothing."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += parse_peak_kib(Path(f"/proc/{pid}/status").read_text())
    return total / 1024
