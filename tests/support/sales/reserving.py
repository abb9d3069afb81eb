"""One reserve straight at the store, the smallest way to take a unit."""

from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import ReserveRequest
from tests.support.sales.partitions import FINGERPRINT, ONE_UNIT, token_of


async def reserve(store: ReservationStore, partition: PartitionId, buyer: str) -> ReserveReply:
    """One unit of the first item for this buyer, always under the same key."""
    request = ReserveRequest(1, token_of(buyer), buyer, FINGERPRINT, ONE_UNIT)
    return (await store.reserve(partition, [request]))[0]


async def buy(store: ReservationStore, partition: PartitionId, first: int, count: int) -> None:
    """One unit each for `count` buyers, numbered from `first`."""
    for number in range(first, first + count):
        assert (await reserve(store, partition, f"buyer-{number}")).outcome == "accepted"
