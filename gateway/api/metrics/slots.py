"""Counters of one worker, in a memory-mapped file that outlives the worker.

Each worker slot has a file of float64 slots, so counting is one store into memory, and any worker
can sum the files of all workers. A restarted worker continues the counts in its slot's file. The
file's name has a digest of the layout, so that another version of the gateway never misreads it.
"""

import mmap
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

_BYTES_PER_SLOT = 8


class MetricsFile:
    """`values[i]` is the slot named `names[i]`."""

    def __init__(self, folder: Path, worker_slot: int, names: Sequence[str]) -> None:
        """Open the file of `worker_slot` in `folder`, or make it."""
        layout = blake2b("\n".join(names).encode(), digest_size=6).hexdigest()
        self._pattern = f"gateway-*.{layout}.metrics"
        self._folder = folder
        self._size = len(names) * _BYTES_PER_SLOT
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"gateway-{worker_slot}.{layout}.metrics"
        with path.open("a+b") as file:
            file.truncate(self._size)
            self._map = mmap.mmap(file.fileno(), self._size)
        self.values = memoryview(self._map).cast("d")

    def totals(self) -> list[float]:
        """The sum over all workers, slot by slot."""
        sums = [0.0] * len(self.values)
        for path in self._folder.glob(self._pattern):
            raw = path.read_bytes()
            if len(raw) == self._size:
                for index, value in enumerate(memoryview(raw).cast("d")):
                    sums[index] += value
        return sums

    def close(self) -> None:
        """Close the file; the counts stay in it."""
        self.values.release()
        self._map.close()
