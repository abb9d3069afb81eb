"""Memory of processes, from /proc."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def parse_peak_kib(status: str) -> int:
    """The peak of resident memory, in KiB, in the text of /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def peak_rss_mib(pids: Iterable[int]) -> float:
    """The sum of these processes' peaks; a process that has ended counts 0."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += parse_peak_kib(Path(f"/proc/{pid}/status").read_text())
    return total / 1024
