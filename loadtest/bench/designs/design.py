"""What a reference design is: one way to give a unit to a buyer, behind the shared HTTP front.

Each design is a file of its own that somebody could have written for a shop: as honest and as well
tuned as we can make it, and with the same work to do as dropgate's reserve: stock, limit per
buyer, idempotency key, hold with a deadline, and a record that an order can be made from.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Protocol

import msgspec

LIMIT_PER_BUYER = 1
HOLD_SECONDS = 600
# A design that keeps losing races gives up after so many and answers 503.
MOST_TRIES = 100
# Requests at the servers at once; all others wait in line, as behind any well-tuned pool. A larger
# number only loses more races.
MOST_AT_ONCE = 64
POSTGRES_POOL_SIZE = 16  # more connections would only queue at the hot row


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are that all designs share."""

    redis: str
    postgres: str


class Reply(msgspec.Struct, frozen=True):
    """The outcome of a request: `accepted`, `replayed`, `sold_out`, `limit_exceeded` or `busy`."""

    outcome: str
    reservation_id: str = ""


SOLD_OUT = Reply("sold_out")
LIMIT_EXCEEDED = Reply("limit_exceeded")
BUSY = Reply("busy")


class Audit(msgspec.Struct, frozen=True):
    """The design's own books: units left, units promised, and reservations."""

    remaining: int
    promised: int
    reservations: int
    distinct_keys: int


class Design(Protocol):
    """One reference design."""

    async def start(self, addresses: Addresses) -> None:
        """Connect; called once."""

    async def reset(self, stock: int) -> None:
        """Forget everything and hold `stock` units."""

    async def reserve(self, buyer_id: str, key: str, quantity: int) -> Reply:
        """Give the units to the buyer, or say why not."""

    async def audit(self) -> Audit:
        """Count the books."""


DesignFactory = Callable[[], Design]


def keyed_id(buyer_id: str, key: str) -> str:
    """The reservation id of designs that derive it from buyer and idempotency key."""
    digest = blake2b(f"{len(buyer_id)}:{buyer_id}{key}".encode(), digest_size=16).digest()
    return urlsafe_b64encode(digest)[:22].decode()


class _Claims(msgspec.Struct, frozen=True):
    aud: str
    sub: str
    scope: str
    exp: int


class TokenCheck:
    """HS256 checked the cheap way, so that no design loses by a slow library."""

    def __init__(self, secret: str) -> None:
        """Check signatures with this secret."""
        self._secret = secret.encode()
        self._claims = msgspec.json.Decoder(_Claims)

    def buyer(self, authorization: str, now: float) -> str | None:
        """The buyer's id, or None for a token that is not good."""
        if not authorization.startswith("Bearer "):
            return None
        signed, _, signature = authorization[7:].rpartition(".")
        digest = hmac.digest(self._secret, signed.encode(), sha256)
        expected = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not hmac.compare_digest(expected, signature):
            return None
        payload = signed.partition(".")[2]
        try:
            claims = self._claims.decode(_from_base64url(payload))
        except (msgspec.DecodeError, ValueError):
            return None
        if claims.aud != "dropgate" or claims.exp < now or claims.scope != "buyer":
            return None
        return claims.sub


def _from_base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
