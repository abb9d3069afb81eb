"""What Redis shows of every live partition, looked at once for all duties."""

from dataclasses import dataclass

from gateway.inventory.redis.looks import Sight
from gateway.inventory.store import ReservationStore
from reconciler.duties.directory import SHARED_SECONDS, Directory, LivePartition
from reconciler.keeping.shared import Shared


@dataclass(frozen=True, slots=True)
class Seen:
    """A live partition, and what Redis shows of it; None where it lacks a key of the partition."""

    live: LivePartition
    sight: Sight | None


class Sights:
    """Looks at all partitions of the directory."""

    def __init__(self, store: ReservationStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._shared = Shared(self._look, SHARED_SECONDS)

    async def current(self) -> tuple[Seen, ...]:
        """What a look showed SHARED_SECONDS ago at most, and after the last `outdate`.

        Raises the errors of ledger and store.
        """
        return await self._shared.get()

    def outdate(self) -> None:
        """A sale has changed: who asks from now on is told of it."""
        self._directory.outdate()
        self._shared.outdate()

    async def _look(self) -> tuple[Seen, ...]:
        partitions = await self._directory.current()
        sights = await self._store.look([live.partition for live in partitions])
        return tuple(Seen(*each) for each in zip(partitions, sights, strict=True))
