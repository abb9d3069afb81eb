"""One reserve straight at the store, the smallest way to take a unit."""

from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import ReserveRequest
from tests.support.partitions import FINGERPRINT, ONE_UNIT, token_of


async def reserve(store: ReservationStore, partition: PartitionId, buyer: str) -> ReserveReply:
    """One unit of the first item for this buyer, always under the same key."""
    request = ReserveRequest(1, token_of(buyer), buyer, FINGERPRINT, ONE_UNIT)
    return (await store.reserve(partition, [request]))[0]
