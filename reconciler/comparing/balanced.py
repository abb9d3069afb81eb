"""Which partitions were found balanced, and at which number: what a periodic comparison may skip.

A partition in which nothing has happened since is quiet: it is compared again after a long time
only, or as soon as a snapshot shows other counters at the same number.
"""

import time
from dataclasses import dataclass, replace
from math import inf

import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import Snapshot
from reconciler.comparing.compare import CompareConfig, Comparison

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Clean:
    """Nothing differed from `snapshot`; `at`, and `whole_at` for all records: monotonic seconds.
    `imports`: how many imports the sale's ledger had by then.
    """

    snapshot: Snapshot
    at: float
    whole_at: float
    imports: int


class Balanced:
    """The newest comparison of each partition, where it found no difference."""

    def __init__(self, config: CompareConfig) -> None:
        self._config = config
        self._clean: dict[PartitionId, _Clean] = {}

    def since(self, partition: PartitionId, *, imports: int) -> Position | None:
        """Where a comparison of changes goes on; None: all records are to be compared, as after an
        import, which brings what has no events.
        """
        clean = self._clean.get(partition)
        if clean is None or clean.imports != imports:
            return None
        recent = time.monotonic() - clean.whole_at < self._config.full_interval_seconds
        return clean.snapshot.position if recent else None

    def note(self, found: Comparison, *, began_at: float, whole: bool, imports: int) -> None:
        """A comparison that began at `began_at`, monotonic seconds; `whole`: of all records;
        `imports`: how many the sale's ledger had.
        """
        clean = self._clean.pop(found.partition, None)
        if not found.differences:
            whole_at = began_at if whole or clean is None else clean.whole_at
            self._clean[found.partition] = _Clean(found.snapshot, began_at, whole_at, imports)

    def is_quiet(self, partition: PartitionId, redis: Position, ledger: Position) -> bool:
        """Whether both sides are where they were found balanced, not too long ago.

        A partition of which a side was seen elsewhere is not quiet before its next comparison: a
        ledger may come back older, and be brought to the same number again.
        """
        clean = self._clean.get(partition)
        if clean is None:
            return False
        if not redis == ledger == clean.snapshot.position:
            self._clean[partition] = replace(clean, at=-inf)
            return False
        return time.monotonic() - clean.at < self._config.quiet_interval_seconds

    def doubt(self, partition: PartitionId, snapshot: Snapshot) -> None:
        """A later snapshot: with other counters at the same number the partition is not quiet."""
        clean = self._clean.get(partition)
        if clean is None or clean.snapshot.position != snapshot.position:
            return
        before = clean.snapshot
        if (before.accounts, before.reservations) != (snapshot.accounts, snapshot.reservations):
            _log.warning("counters_changed_without_event", partition=str(partition))
            del self._clean[partition]

    def keep_only(self, partitions: set[PartitionId]) -> None:
        """Forget all others: their sales are over."""
        self._clean = {key: each for key, each in self._clean.items() if key in partitions}

    def __len__(self) -> int:
        """How many partitions were found balanced."""
        return len(self._clean)
