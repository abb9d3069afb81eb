"""Which partitions recovery looks at closely in a turn, and which it notes as alive.

A partition that shows what it has shown since its last snapshot, in the run of Redis that it
trusts, needs none in this turn. But each one has its turn: the partitions whose last snapshot is
the oldest are looked at, so many that all of them come up in ROUND_TURNS turns.

That a partition is alive counts for its active holds only: without any it is noted seldom.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from gateway.inventory.keys import PartitionId
from reconciler.duties.sights import Seen

# With fewer partitions than this, each is looked at closely in every turn.
CLOSELY_LEAST = 50
ROUND_TURNS = 20
# How stale `alive_at` of a partition without active holds may be.
ALIVE_SECONDS = 10.0


@dataclass(slots=True)
class _Known:
    """What the last snapshot of a partition showed, at `at`; `noted_at`: when it was noted alive.

    Both are on our clock.
    """

    shape: tuple[int, int]
    at: float
    noted_at: float


@dataclass(frozen=True, slots=True)
class Turn:
    """`closely`: to take a snapshot of. `alive`: healthy, with the server's time, to be noted."""

    closely: list[Seen] = field(default_factory=list)
    alive: list[tuple[PartitionId, int]] = field(default_factory=list)


class Rounds:
    """Remembers the last snapshot of each partition."""

    def __init__(self) -> None:
        self._known: dict[PartitionId, _Known] = {}

    def begin(self, seen: Sequence[Seen], run_id: str) -> Turn:
        """What to do in this turn; `run_id`: the run of the server, as asked apart from the look.

        A partition that is not looked at closely stays known; all others have to be found whole
        again.
        """
        known = self._known
        now = time.monotonic()
        as_before = [each for each in seen if self._is_as_before(each, run_id)]
        self._known = {each.live.partition: known[each.live.partition] for each in as_before}
        as_before.sort(key=lambda each: self._known[each.live.partition].at)
        due = max(CLOSELY_LEAST, ceil(len(seen) / ROUND_TURNS))
        changed = [each for each in seen if each.live.partition not in self._known]
        turn = Turn(changed + as_before[:due])
        for each in as_before[due:]:
            last = self._known[each.live.partition]
            if each.sight is not None and (each.sight.holds or now - last.noted_at > ALIVE_SECONDS):
                last.noted_at = now
                turn.alive.append((each.live.partition, each.sight.read_at))
        return turn

    def found_whole(self, seen: Seen) -> None:
        """A snapshot after this sight has shown the partition to be whole; it is noted as alive."""
        if seen.sight is not None:
            now = time.monotonic()
            self._known[seen.live.partition] = _Known(seen.sight.shape, now, now)

    def _is_as_before(self, seen: Seen, run_id: str) -> bool:
        known, sight = self._known.get(seen.live.partition), seen.sight
        return (
            known is not None
            and sight is not None
            and sight.run_id == sight.server_run_id == run_id
            and sight.shape == known.shape
        )
