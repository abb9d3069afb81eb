"""Public keys that verify EdDSA and RS256 tokens: a JWK Set, checked key by key.

A key names its own algorithm; the token's algorithm must equal it and decides nothing. Entries that
are not public verification keys of these two algorithms are left out and counted, so that a set
with other entries (encryption keys, other curves, symmetric keys) does no harm.
"""

from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SET_BYTES_MAX = 256 * 1024
KEYS_MAX = 100
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192
_ALGORITHM_OF_TYPE = {"OKP": "EdDSA", "RSA": "RS256"}
# The names a key may give its algorithm; the first is the name in a token's header.
_NAMES = {"EdDSA": ("EdDSA", "Ed25519"), "RS256": ("RS256",)}


class UnusableSet(Exception):
    """Not a JWK Set, or a set without a usable key."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key; `jwk` is its entry in the set, by which keys are compared."""

    kid: str | None
    algorithm: str
    key: Ed25519PublicKey | RSAPublicKey
    jwk: bytes


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set; `left_out`: the number of unusable entries."""

    keys: tuple[PublicKey, ...]
    left_out: int = 0

    def candidates(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """The keys that may have signed a token; without a `kid` every key of the algorithm."""
        return tuple(
            key for key in self.keys if key.algorithm == algorithm and kid in {None, key.kid}
        )

    def knows(self, kid: str | None) -> bool:
        """Whether the set has a key with this id; true for a token without an id."""
        return kid is None or any(key.kid == kid for key in self.keys)


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


def parse_key_set(raw: bytes) -> KeySet:
    """The usable keys of a JWK Set. Raises UnusableSet."""
    if len(raw) > SET_BYTES_MAX:
        raise UnusableSet(f"it has more than {SET_BYTES_MAX} bytes")
    try:
        given = msgspec.json.decode(raw, type=_Jwks).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnusableSet("it is not a JWK Set") from error
    if len(given) > KEYS_MAX:
        raise UnusableSet(f"it has more than {KEYS_MAX} keys")
    keys = [key for key in map(_public_key, given) if key is not None]
    if not keys:
        raise UnusableSet("it has no public key for EdDSA (Ed25519) or RS256")
    return KeySet(tuple(keys), len(given) - len(keys))


def _public_key(raw: msgspec.Raw) -> PublicKey | None:
    """The key, or None for an entry that cannot verify tokens."""
    jwk = msgspec.json.decode(raw)
    if not isinstance(jwk, dict) or not _is_for_verifying(jwk):
        return None
    algorithm = _ALGORITHM_OF_TYPE.get(str(jwk.get("kty")))
    kid = jwk.get("kid")
    if algorithm is None or jwk.get("alg", algorithm) not in _NAMES[algorithm]:
        return None
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return PublicKey(kid, algorithm, key, bytes(raw)) if _is_strong(key) else None


def _is_for_verifying(jwk: dict[str, Any]) -> bool:
    """Whether an entry is a verification key: not private (a mistake), and not for another use."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        "d" not in jwk
        and "k" not in jwk
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _is_strong(key: object) -> bool:
    if isinstance(key, RSAPublicKey):
        return RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX
    return isinstance(key, Ed25519PublicKey)
