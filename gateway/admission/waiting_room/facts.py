"""The facts of a sale that its waiting room needs."""

import msgspec

from gateway.inventory.keys import PartitionId
from gateway.inventory.types import SaleState


class RoomFacts(msgspec.Struct, frozen=True):
    """A sale with a waiting room, as last read. Instants are ms since 1970, 0 for none; `floors`
    and `units` are by SKU, `units` as in the sale's spec.
    """

    sale_id: str
    hash_key: bytes
    state: SaleState
    opened: bool
    partitions: tuple[PartitionId, ...]
    floors: dict[str, int]
    units: dict[str, int]
    max_active_buyers: int
    admission_ms: int
    opens_at_ms: int
    prequeue_at_ms: int
    draws: bool

    @property
    def is_over(self) -> bool:
        """Whether the sale has ended, so that nobody is let in any more."""
        return self.state in {SaleState.CLOSED, SaleState.SETTLED}

    def takes_joins(self, now_ms: int) -> bool:
        """Whether buyers may join: from `prequeue_at`, or from when the sale is scheduled."""
        if self.opened:
            return not self.is_over
        if self.prequeue_at_ms:
            return now_ms >= self.prequeue_at_ms
        return self.state is SaleState.SCHEDULED
