"""What every checker is given: the two systems at one moment, and what clients saw."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from loadtest.client.history import History
from loadtest.verdict.ledger import Ledger, Sale, Watermark
from loadtest.verdict.log.order import LogOrder, Step
from loadtest.verdict.partition_view import PartitionView


@dataclass(frozen=True, slots=True)
class Drain:
    """How the wait for the pipeline ended; `remaining` says what had not arrived, if anything."""

    seconds: float
    remaining: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Whether every event had arrived."""
        return not self.remaining


def home_partition(buyer_id: str, partitions: int) -> int:
    """BLAKE2b of the buyer id, modulo the partitions."""
    if partitions == 1:
        return 0
    digest = blake2b(buyer_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def expected_reservation_id(sale: Sale, buyer_id: str, idempotency_key: str) -> str:
    """The id that (buyer, key) must lead to: computed here again, from the documented recipe."""
    digest = blake2b(digest_size=16, key=sale.hash_key)
    for part in (buyer_id, idempotency_key):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    token = urlsafe_b64encode(digest.digest())[:22].decode()
    return f"{sale.sale_id}.{home_partition(buyer_id, sale.partitions)}.{token}"


@dataclass(frozen=True)
class Context:
    """The evidence. `partitions` is empty for a settled sale, which Redis has forgotten; `steps`
    and `epochs` are those of the log, read where there is a history.
    """

    sale: Sale
    ledger: Ledger
    watermarks: dict[int, Watermark]
    partitions: tuple[PartitionView, ...]
    drain: Drain
    history: History | None
    steps: tuple[Step, ...] = ()
    epochs: tuple[int, ...] = ()

    @cached_property
    def requested(self) -> dict[tuple[str, str], str]:
        """(buyer, key) of every reserve sent → the reservation id it must lead to."""
        if self.history is None:
            return {}
        return {
            pair: expected_reservation_id(self.sale, *pair)
            for pair in {(a.buyer_id, a.key) for a in self.history.of("reserve") if a.key}
        }

    @cached_property
    def order(self) -> LogOrder | None:
        """The order of the log as the clients know it, where it can be judged: with a history, in a
        sale of one partition, once all events have arrived.
        """
        if self.history is None or not self.drain.done or self.sale.partitions != 1:
            return None
        return LogOrder(self.steps, self.epochs, self.history, self.requested)
