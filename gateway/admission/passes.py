"""The waiting room's passes: tickets for buyers who wait, admissions for buyers let in.

A pass is a few signed bytes as base64url, so no pass is stored and any worker can check it:
HMAC-SHA256, cut to 128 bits, under a key derived from the sale's hash key and the kind of pass,
over the sale, the buyer and the pass's content. A pass of another buyer, sale or kind, or an
altered pass, therefore has a wrong signature.

=========  ==========  ==================================================================
pass       header        content
=========  ==========  ==================================================================
ticket     Queue-Ticket    number (40 bits): the order in which its buyer came
admission  Admission-Token  place (40 bits), and the instant of its end (48 bits, ms)
=========  ==========  ==================================================================
"""

from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from functools import lru_cache
from hmac import compare_digest, digest
from typing import NamedTuple

NUMBER_BYTES = 5
INSTANT_BYTES = 6
SIGNATURE_BYTES = 16
# A ticket is as long in base64url, without padding: its bytes are a multiple of three.
TICKET_CHARACTERS = (NUMBER_BYTES + SIGNATURE_BYTES) * 4 // 3
NUMBER_MAX = 2 ** (8 * NUMBER_BYTES) - 1

_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", None, b"==", b"=")


class InvalidPass(Exception):
    """Not a valid pass of this buyer for this sale; the message is for the caller."""


class Admission(NamedTuple):
    """A verified admission: the place let in, and the instant of its end (ms since 1970)."""

    number: int
    expires_at_ms: int


class Passes:
    """Makes and verifies the passes of one sale."""

    def __init__(self, hash_key: bytes, sale_id: str) -> None:
        """`hash_key`: the key of the sale, which never changes."""
        self._ticket_key = digest(hash_key, b"dropgate queue ticket", "sha256")
        self._admission_key = digest(hash_key, b"dropgate admission", "sha256")
        # A sale id has no zero byte, so the boundary between sale id and buyer id is unambiguous.
        self._bound_to = sale_id.encode() + b"\0"

    def ticket(self, buyer_id: str, number: int) -> str:
        """A ticket. Raises OverflowError for a number above NUMBER_MAX."""
        return self._signed(self._ticket_key, number.to_bytes(NUMBER_BYTES, "big"), buyer_id)

    def admission(self, buyer_id: str, number: int, expires_at_ms: int) -> str:
        """An admission. Raises OverflowError for a number or an instant that does not fit."""
        says = number.to_bytes(NUMBER_BYTES, "big") + expires_at_ms.to_bytes(INSTANT_BYTES, "big")
        return self._signed(self._admission_key, says, buyer_id)

    def number_of(self, ticket: str, buyer_id: str) -> int:
        """The number on the buyer's ticket. Raises InvalidPass."""
        says = self._verified(self._ticket_key, ticket, NUMBER_BYTES, buyer_id)
        if says is None:
            raise InvalidPass("Queue-Ticket: not this buyer's ticket for this sale")
        return int.from_bytes(says, "big")

    def admitted(self, token: str, buyer_id: str, now_ms: int) -> Admission:
        """The buyer's admission, if it has not ended at `now_ms`. Raises InvalidPass.

        Whether it is unspent is known only to the buyer's partition, where `reserve` spends it.
        """
        says = self._verified(self._admission_key, token, NUMBER_BYTES + INSTANT_BYTES, buyer_id)
        if says is None:
            raise InvalidPass("Admission-Token: not this buyer's admission to this sale")
        expires_at_ms = int.from_bytes(says[NUMBER_BYTES:], "big")
        if expires_at_ms <= now_ms:
            raise InvalidPass("Admission-Token: expired; join the queue again")
        return Admission(int.from_bytes(says[:NUMBER_BYTES], "big"), expires_at_ms)

    def _signed(self, key: bytes, says: bytes, buyer_id: str) -> str:
        signature = self._signature(key, says, buyer_id)
        return urlsafe_b64encode(says + signature).rstrip(b"=").decode()

    def _signature(self, key: bytes, says: bytes, buyer_id: str) -> bytes:
        signed = says + self._bound_to + buyer_id.encode()
        return digest(key, signed, "sha256")[:SIGNATURE_BYTES]

    def _verified(self, key: bytes, text: str, says_bytes: int, buyer_id: str) -> bytes | None:
        """The content of a pass of exactly this length, or None when it is not this buyer's."""
        raw = _decoded(text, says_bytes + SIGNATURE_BYTES)
        if raw is None:
            return None
        says, signature = raw[:says_bytes], raw[says_bytes:]
        return says if compare_digest(signature, self._signature(key, says, buyer_id)) else None


def _decoded(text: str, wanted_bytes: int) -> bytes | None:
    """The bytes of a canonical base64url text of exactly this length; else None."""
    length = -(-8 * wanted_bytes // 6)
    padding = _PADDING[length % 4]
    if len(text) != length or padding is None:
        return None
    given = text.encode()
    try:
        raw = a2b_base64(given.translate(_URL_TO_STANDARD) + padding)
    except Base64Error:
        return None
    # The decoder accepts several spellings of these bytes; only the canonical spelling is valid.
    return raw if urlsafe_b64encode(raw).rstrip(b"=") == given else None


@lru_cache(maxsize=2048)
def passes_of(hash_key: bytes, sale_id: str) -> Passes:
    """The passes of a sale; their keys are derived once and cached."""
    return Passes(hash_key, sale_id)
