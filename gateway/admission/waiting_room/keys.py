"""Names: the Redis keys of a waiting room, and the digests its buyers are known by.

Key glossary (`{sale:q}` is the room's own hash tag: it may live on another node than a partition):

========================  ======  =============================================================
key                       type    holds
========================  ======  =============================================================
`{sale:q}:meta`             hash    counters, pace, waves of called places, trusted run
`{sale:q}:gone`             string  a bit for each place that needs no slot
`{sale:q}:revoked`          hash    digests of buyers an operator has turned out
`{sale:q}:buyers:<bucket>`  hash    digest of a buyer → number; small, so that Redis packs it
========================  ======  =============================================================
"""

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from gateway.inventory.keys import sync_key

# A bucket is packed as long as it has at most 128 entries (Redis' default); at a million buyers it
# has about thirty, so it stays so up to three million.
BUCKETS = 32_768
DIGEST_BYTES = 8
_BUCKET_BYTES = 2


class BuyerDigest(NamedTuple):
    """A buyer as the room knows them: which bucket, and which field of it."""

    bucket: int
    field: bytes


class RoomKeys(NamedTuple):
    """The keys of one room that always have one name."""

    meta: bytes
    gone: bytes
    revoked: bytes
    buyers: bytes

    def bucket(self, number: int) -> bytes:
        """The key of one bucket of buyers."""
        return self.buyers + b"%d" % number


@lru_cache(maxsize=2048)
def room_keys(sale_id: str) -> RoomKeys:
    """The keys of a sale's waiting room."""
    tag = f"{{{sale_id}:q}}:".encode()
    return RoomKeys(tag + b"meta", tag + b"gone", tag + b"revoked", tag + b"buyers:")


def every_room_key(sale_id: str) -> list[bytes]:
    """Whatever a room may have left in Redis, the sync key of durability `replica` included."""
    keys = room_keys(sale_id)
    fixed = [keys.meta, keys.gone, keys.revoked, sync_key((keys.meta,))]
    return fixed + [keys.bucket(number) for number in range(BUCKETS)]


def buyer_digest(hash_key: bytes, buyer_id: str) -> BuyerDigest:
    """Under the sale's own key, so that nobody can choose ids that fall into one bucket."""
    digest = blake2b(
        buyer_id.encode(),
        digest_size=_BUCKET_BYTES + DIGEST_BYTES,
        key=hash_key,
        person=b"waiting room",
    ).digest()
    bucket = int.from_bytes(digest[:_BUCKET_BYTES], "big") % BUCKETS
    return BuyerDigest(bucket, digest[_BUCKET_BYTES:])
