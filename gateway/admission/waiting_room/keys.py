"""Names: the Redis keys of a waiting room, and the digests that stand for its buyers.

Key glossary (`{sale:q}` is the room's own hash tag: it may live on another node than a partition):

========================  ======  =============================================================
key                       type    holds
========================  ======  =============================================================
`{sale:q}:meta`             hash    counters, pace, waves of called places, trusted run
`{sale:q}:gone`             string  a bit for each place that needs no slot
`{sale:q}:revoked`          hash    digests of buyers whom an operator has removed
`{sale:q}:ended`            list    the newest places given up or used after they were called
`{sale:q}:buyers:<bucket>`  hash    digest of a buyer → number; small, so that Redis packs it
========================  ======  =============================================================
"""

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from gateway.inventory.keys import sync_key

# Redis packs a hash of at most 128 entries (its default). A bucket has about thirty entries at a
# million buyers, so buckets stay packed up to three million.
BUCKETS = 32_768
DIGEST_BYTES = 8
_BUCKET_BYTES = 2


class BuyerDigest(NamedTuple):
    """A buyer as the room knows them: the number of the bucket, and the field in it."""

    bucket: int
    field: bytes


class RoomKeys(NamedTuple):
    """The keys of one room; the keys of buckets begin with `buyers`."""

    meta: bytes
    gone: bytes
    revoked: bytes
    ended: bytes
    buyers: bytes

    def bucket(self, number: int) -> bytes:
        """The key of one bucket of buyers."""
        return self.buyers + b"%d" % number


@lru_cache(maxsize=2048)
def room_keys(sale_id: str) -> RoomKeys:
    """The keys of a sale's waiting room."""
    tag = f"{{{sale_id}:q}}:".encode()
    return RoomKeys(
        tag + b"meta", tag + b"gone", tag + b"revoked", tag + b"ended", tag + b"buyers:"
    )


def every_room_key(sale_id: str) -> list[bytes]:
    """Every key that a room may have in Redis, with the sync key of durability `replica`."""
    keys = room_keys(sale_id)
    fixed = [keys.meta, keys.gone, keys.revoked, keys.ended, sync_key((keys.meta,))]
    return fixed + [keys.bucket(number) for number in range(BUCKETS)]


def buyer_digest(hash_key: bytes, buyer_id: str) -> BuyerDigest:
    """The buyer's digest under the sale's key, so that nobody can choose ids for one bucket."""
    digest = blake2b(
        buyer_id.encode(),
        digest_size=_BUCKET_BYTES + DIGEST_BYTES,
        key=hash_key,
        person=b"waiting room",
    ).digest()
    bucket = int.from_bytes(digest[:_BUCKET_BYTES], "big") % BUCKETS
    return BuyerDigest(bucket, digest[_BUCKET_BYTES:])
