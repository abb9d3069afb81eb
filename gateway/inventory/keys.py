"""Names: Redis keys of a partition, reservation ids, home partitions.

Key glossary (`{sale:p}` is the hash tag that keeps a partition on one cluster node):

====================  ===========  ==========================================================
key                   type         holds
====================  ===========  ==========================================================
`{sale:p}:meta`         hash         trusted run, epoch, sequence, state, window, rules; the
                                     catalogue, a field for each item (lua/include/items.lua)
`{sale:p}:stock`        hash         `sku:location:counter` → units
`{sale:p}:reservations` hash         token → record (MessagePack, see types.Record)
`{sale:p}:buyers`       hash         buyer id → counts and own active holds
`{sale:p}:deadlines`    sorted set   token → deadline of each active hold
`{sale:p}:outbox`       stream       `epoch-sequence` → event
`{sale:p}:buckets:0`, `:1` hash      buyer id → instant at which the rate limit is full again
`{sale:p}:synced`       string       written before WAIT in durability `replica`; no content
`{sale:p}:relay`        hash         the relay's lease, and its position in the outbox
`ledger:counts`         string       the ledger that counts, for all partitions of this Redis
`ledger:until`          string       the end of its lease
====================  ===========  ==========================================================

A token is the last part of a reservation id: 128 bits of keyed BLAKE2b over (buyer, idempotency
key) as 22 characters of base64url, so that a retry finds its own record and nobody can guess a
token.
"""

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

SALE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # SKUs and locations
LEDGER_KEY = b"ledger:counts"
LEDGER_LEASE_KEYS = (LEDGER_KEY, b"ledger:until")
_RESERVATION_ID = re.compile(r"([a-z0-9][a-z0-9-]{0,63})\.(\d{1,4})\.([A-Za-z0-9_-]{22})")


@dataclass(frozen=True, slots=True, order=True)
class PartitionId:
    """One slice of a sale."""

    sale_id: str
    number: int

    def __str__(self) -> str:
        """`sale:partition`, which is also the Kafka key."""
        return f"{self.sale_id}:{self.number}"


@dataclass(frozen=True, slots=True)
class ReservationId:
    """The id of a reservation: `<sale>.<partition>.<token>`."""

    partition: PartitionId
    token: str

    def __str__(self) -> str:
        """Render the id as callers see it."""
        return f"{self.partition.sale_id}.{self.partition.number}.{self.token}"


@lru_cache(maxsize=4096)
def partition_keys(partition: PartitionId) -> tuple[bytes, ...]:
    """The fixed list of a partition's keys, in the order that every script expects."""
    tag = f"{{{partition.sale_id}:{partition.number}}}"
    names = ("meta", "stock", "reservations", "buyers", "deadlines", "outbox")
    return tuple(f"{tag}:{name}".encode() for name in names)


@lru_cache(maxsize=4096)
def bucket_keys(partition: PartitionId) -> tuple[bytes, ...]:
    """The two hashes of the buyers' rate limit, which take turns and expire on their own."""
    return tuple(f"{{{partition}}}:buckets:{turn}".encode() for turn in (0, 1))


def sync_key(keys: tuple[bytes, ...]) -> bytes:
    """The key written in durability `replica` so that WAIT covers the call; no content, expires."""
    return keys[0].removesuffix(b"meta") + b"synced"


def relay_key(partition: PartitionId) -> bytes:
    """The hash of the relay's lease, which no script of the partition reads."""
    return f"{{{partition}}}:relay".encode()


def outbox_key(partition: PartitionId) -> bytes:
    """The partition's outbox, a stream."""
    return partition_keys(partition)[5]


def home_partition(buyer_id: str, partitions: int) -> int:
    """A buyer's partition, by a stable hash, so that a buyer's limit is counted in one place."""
    if partitions == 1:
        return 0
    digest = blake2b(buyer_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def keyed_token(key: bytes, *parts: str) -> str:
    """22 characters that only the holder of `key` can compute from `parts`.

    Each part is preceded by its length, so that no two lists of parts hash the same bytes.
    """
    digest = blake2b(digest_size=16, key=key)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return urlsafe_b64encode(digest.digest())[:22].decode()


def parse_reservation_id(text: str) -> ReservationId | None:
    """The parts of a reservation id, or None for any other text."""
    match = _RESERVATION_ID.fullmatch(text)
    if match is None:
        return None
    sale_id, number, token = match.groups()
    if str(int(number)) != number:
        return None
    return ReservationId(PartitionId(sale_id, int(number)), token)
