"""Duty: holds past their deadline return to stock, well within a second.

Needs neither the ledger nor the lead: the script is one atomic step however many sweepers call it,
and units must come back while Postgres is away, or while the leader hangs. Standbys sweep, too,
but less often: they are there for what the leader leaves. A partition gets one bounded batch a
round, so a storm of due holds in one sale keeps no other waiting; and while no hold of it can
become due, it is not asked at all, or the sweep of a thousand quiet sales would cost half of
Redis. A turn costs what is asked in it, however many partitions are quiet: they wait in an agenda.
A hold whose record is lost is reported until a reconciliation repairs it; the sweep goes on
without it. Where Redis' clock was set back, the sweep lets the partition's clock follow it.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import structlog

from gateway.inventory.keys import PartitionId
from gateway.inventory.store import ReservationStore
from reconciler.duties.directory import Directory, LivePartition
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import for_each

BATCH_MAX_HOLDS = 1000
INTERVAL_MAX_SECONDS = 0.5
# A partition's wall clock may be ahead of the server's by this much: servers that replace each
# other differ by less, and it stands still until the server's clock has caught up.
CLOCK_AHEAD_MAX_MILLISECONDS = 2000
# A quiet partition is asked again after this at the latest: deadlines come earlier than was known
# where the server's clock jumps, or a repair sets a reservation right.
QUIET_MAX_SECONDS = 5.0
# Just past a deadline rather than just before it.
AFTER_DEADLINE_SECONDS = 0.002
# A standby's pause: units that the leader leaves are sellable again within a second.
STANDBY_SECONDS = 0.5

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ExpireConfig:
    """`interval_seconds`: longest pause between looks. `batch_holds`: most holds in one call."""

    interval_seconds: float = 0.1
    batch_holds: int = 500

    def __post_init__(self) -> None:
        """Raise ValueError for a configuration that cannot return holds within a second."""
        if not 0 < self.interval_seconds <= INTERVAL_MAX_SECONDS:
            raise ValueError(f"expire interval must be at most {INTERVAL_MAX_SECONDS} s")
        if not 1 <= self.batch_holds <= BATCH_MAX_HOLDS:
            raise ValueError(f"expire batch must be 1 to {BATCH_MAX_HOLDS} holds")


class Expire:
    """Returns due holds to stock."""

    name: ClassVar[str] = "expire"
    needs_lead: ClassVar[bool] = False
    deadline_seconds: ClassVar[float] = 15.0

    def __init__(
        self,
        store: ReservationStore,
        directory: Directory,
        config: ExpireConfig,
        leads: Callable[[], bool],
    ) -> None:
        """`leads`: whether this process leads now."""
        self._leads = leads
        self._store = store
        self._directory = directory
        self._config = config
        self._notices = Notices()
        self._known: tuple[LivePartition, ...] = ()
        # When each partition is asked next, on our clock: by partition, and the earliest first.
        self._next: dict[PartitionId, float] = {}
        self._agenda: list[tuple[float, PartitionId]] = []
        self.expired_holds = 0

    async def run_once(self) -> float:
        """One batch of every partition in which a hold may be due."""
        self._follow_directory()
        interval = self._config.interval_seconds
        now = time.monotonic()
        due = self._take_due(now)
        try:
            await for_each(due, self._sweep, self._notices, "expire_waits")
        finally:
            for partition in due:
                if self._next[partition] <= now:  # it could not be asked
                    self._ask_at(partition, time.monotonic() + interval)
        until = self._agenda[0][0] if self._agenda else time.monotonic() + interval
        pause_seconds = min(max(0.0, until - time.monotonic()), interval)
        return pause_seconds if self._leads() or not pause_seconds else STANDBY_SECONDS

    def _follow_directory(self) -> None:
        """Partitions that are new are due; those that are gone are forgotten."""
        if self._directory.partitions is self._known:
            return
        self._known = self._directory.partitions
        known = {live.partition for live in self._known}
        for partition in self._next.keys() - known:
            del self._next[partition]
        for partition in known - self._next.keys():
            self._ask_at(partition, 0.0)

    def _ask_at(self, partition: PartitionId, at: float) -> None:
        self._next[partition] = at
        heapq.heappush(self._agenda, (at, partition))

    def _take_due(self, now: float) -> list[PartitionId]:
        """The partitions whose time has come, each once; they leave the agenda."""
        due: dict[PartitionId, None] = {}
        while self._agenda and self._agenda[0][0] <= now:
            at, partition = heapq.heappop(self._agenda)
            # Another entry has replaced this one, or the partition is gone.
            if self._next.get(partition) == at:
                due[partition] = None
        return list(due)

    async def _sweep(self, partition: PartitionId) -> None:
        reply = await self._store.expire(partition, self._config.batch_holds)
        self.expired_holds += reply.expired
        if reply.without_record:
            self._notices.alarm("holds_without_record", str(partition), holds=reply.without_record)
        quiet_seconds = min(reply.quiet_ms / 1000 + AFTER_DEADLINE_SECONDS, QUIET_MAX_SECONDS)
        if reply.still_due:
            quiet_seconds = 0.0
        if reply.ahead_ms > CLOCK_AHEAD_MAX_MILLISECONDS:
            rebased = await self._store.rebase(partition, CLOCK_AHEAD_MAX_MILLISECONDS)
            _log.warning(
                "clock_was_set_back", partition=str(partition), outcome=rebased.outcome,
                ahead_ms=rebased.ahead_ms,
            )  # fmt: skip
            quiet_seconds = 0.0  # the deadlines on the wall clock have moved
        self._ask_at(partition, time.monotonic() + quiet_seconds)
