"""Facts of one sale, as the request path needs them."""

import asyncpg
import msgspec

from gateway.inventory.catalog import Catalog
from gateway.inventory.keys import PartitionId, home_partition
from gateway.inventory.specs import SaleSpec
from gateway.inventory.types import SaleState

_spec = msgspec.json.Decoder(SaleSpec)


class SaleFacts(msgspec.Struct, frozen=True):
    """One sale as the ledger had it; `state` is the intended state, which partitions may lag."""

    sale_id: str
    state: SaleState
    version: int
    hash_key: bytes
    spec: SaleSpec
    catalog: Catalog
    partition_ids: tuple[PartitionId, ...]
    partitions_exist: bool

    @property
    def opened(self) -> bool:
        """Whether the sale was ever opened; from then on only its state can change."""
        return self.partitions_exist

    @property
    def currency(self) -> str:
        """The currency of all prices."""
        return self.catalog.currency

    def home_of(self, buyer_id: str) -> PartitionId:
        """The buyer's home partition, which has the buyer's reservations."""
        return self.partition_ids[home_partition(buyer_id, len(self.partition_ids))]


def facts_of(row: asyncpg.Record) -> SaleFacts:
    """The facts in a row of the query `sale_facts`."""
    spec = _spec.decode(row["spec"])
    return SaleFacts(
        sale_id=row["sale_id"],
        state=SaleState(row["state"]),
        version=row["version"],
        hash_key=bytes(row["hash_key"]),
        spec=spec,
        catalog=Catalog.of(spec),
        partition_ids=tuple(PartitionId(row["sale_id"], p) for p in range(row["partitions"])),
        partitions_exist=row["partitions_exist"],
    )
