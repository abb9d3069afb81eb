"""Bearer tokens: the caller's identity and scope.

HS256 is on the hot path, so it is verified here with `hmac` and msgspec. EdDSA and RS256 are
verified by PyJWT with keys of a JWK Set; such a signature costs as much as several reservations, so
each token is checked once and remembered until it expires. The key decides the algorithm, never the
token: shared secrets verify HS256 alone, a public key verifies the one algorithm it was made for.

Every fault of a token is an `InvalidToken`; its message is shown to the caller and never contains
the token.
"""

import time
from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest, digest
from typing import NamedTuple

import jwt
import msgspec

from gateway.admission.key_set import PublicKey
from gateway.admission.keyring import Keyring, UnknownKey

TOKEN_BYTES_MAX = 4096
SUBJECT_BYTES_MAX = 128
REMEMBERED_MAX = 200_000


class InvalidToken(Exception):
    """Not a valid token; the message says what is wrong with it."""


class Scope(StrEnum):
    """The role of a caller; a token has exactly one scope."""

    BUYER = "buyer"
    STOREFRONT = "storefront"
    OPS = "ops"


class Principal(msgspec.Struct, frozen=True):
    """A caller whose token was verified."""

    subject: str
    scope: Scope


class Secret(NamedTuple):
    """A shared secret for HS256; with a `kid` it verifies only tokens with this `kid` or none."""

    key: bytes
    kid: str | None = None


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    crit: msgspec.Raw | None = None


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    aud: str | list[str]
    exp: int | float
    scope: Scope
    nbf: int | float = 0
    iat: int | float = 0


class _Remembered(NamedTuple):
    principal: Principal
    expires_at: float
    generation: int


_claims = msgspec.json.Decoder(_Claims)
_jws = jwt.PyJWS()
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", None, b"==", b"=")


def _decoded(segment: bytes) -> bytes:
    """The bytes of a base64url segment; unlike the lenient decoder, refuses unknown characters."""
    padding = _PADDING[len(segment) % 4]
    if padding is None or b"+" in segment or b"/" in segment or b"=" in segment:
        raise InvalidToken("the token is not a JWT")
    try:
        return a2b_base64(segment.translate(_URL_TO_STANDARD) + padding, strict_mode=True)
    except Base64Error as error:
        raise InvalidToken("the token is not a JWT") from error


@lru_cache(maxsize=256)
def _header_of(segment: bytes) -> _Header | None:
    """The header, or None when it is malformed or demands an extension (`crit`)."""
    try:
        header = msgspec.json.decode(_decoded(segment), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidToken):
        return None
    return header if header.crit is None else None


def is_subject(text: str) -> bool:
    """Whether a text can name a buyer or a service: 1 to SUBJECT_BYTES_MAX bytes, printable."""
    return text.isprintable() and 1 <= len(text.encode()) <= SUBJECT_BYTES_MAX


class TokenVerifier:
    """Verifies tokens of one audience; `leeway_seconds` tolerates differing clocks."""

    def __init__(
        self,
        secrets: Sequence[Secret],
        audience: str,
        leeway_seconds: int,
        keyring: Keyring | None = None,
    ) -> None:
        """`secrets` verify HS256, the keys of `keyring` EdDSA and RS256; either may be empty."""
        self._secrets = tuple(secrets)
        self._named = {secret.kid: (secret,) for secret in secrets if secret.kid is not None}
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._keyring = keyring
        self._remembered: dict[bytes, _Remembered] = {}

    def verify_header(self, authorization: str | None) -> Principal:
        """The caller of an `Authorization` header. Raises InvalidToken, KeysUnavailable."""
        if authorization is None:
            raise InvalidToken("a bearer token is required")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken("the Authorization header is not of the form: Bearer <token>")
        return self.verify(token.strip(" "))

    def verify(self, token: str) -> Principal:
        """The caller in a token. Raises InvalidToken, KeysUnavailable."""
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise InvalidToken("the token is not a JWT")
        signed, _, signature = token.encode().rpartition(b".")
        header_segment, dot, payload = signed.partition(b".")
        header = _header_of(header_segment) if dot and b"." not in payload else None
        if header is None:
            raise InvalidToken("the token is not a JWT")
        if header.alg == "HS256":
            self._check_secret(header, signed, signature)
        elif self._keyring is not None and header.alg in {"EdDSA", "RS256"}:
            return self._by_public_key(self._keyring, header, token, payload)
        else:
            raise InvalidToken("the token is signed with an algorithm that is not accepted here")
        claims = self._checked(payload)
        return Principal(claims.sub, claims.scope)

    def _check_secret(self, header: _Header, signed: bytes, signature: bytes) -> None:
        secrets = self._secrets
        if header.kid is not None and header.kid in self._named:
            secrets = self._named[header.kid]
        for secret in secrets:
            expected = urlsafe_b64encode(digest(secret.key, signed, "sha256")).rstrip(b"=")
            if compare_digest(expected, signature):
                return
        raise InvalidToken("the token's signature is wrong")

    def _by_public_key(
        self, keyring: Keyring, header: _Header, token: str, payload: bytes
    ) -> Principal:
        keyring.check_usable()
        name = blake2b(token.encode(), digest_size=16).digest()
        known = self._remembered.get(name)
        if known is not None and known.generation == keyring.generation:
            if known.expires_at <= time.time() - self._leeway_seconds:
                del self._remembered[name]
                raise InvalidToken("the token has expired")
            return known.principal
        try:
            keys = keyring.candidates(header.kid, header.alg)
        except UnknownKey as error:
            raise InvalidToken("the token was signed with an unknown key") from error
        if not any(_signed_by(key, token) for key in keys):
            raise InvalidToken("the token's signature is wrong")
        claims = self._checked(payload)
        principal = Principal(claims.sub, claims.scope)
        self._remember(name, _Remembered(principal, claims.exp, keyring.generation))
        return principal

    def _remember(self, name: bytes, found: _Remembered) -> None:
        self._remembered.pop(name, None)
        self._remembered[name] = found
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.pop(next(iter(self._remembered)))

    def _checked(self, payload: bytes) -> _Claims:
        """The claims, if they are valid now and for this audience. Raises InvalidToken."""
        try:
            claims = _claims.decode(_decoded(payload))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidToken("the token lacks sub, aud, exp or a known scope") from error
        now, leeway = time.time(), self._leeway_seconds
        if claims.exp <= now - leeway:
            raise InvalidToken("the token has expired")
        if max(claims.nbf, claims.iat) > now + leeway:
            raise InvalidToken("the token is not valid yet")
        audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise InvalidToken("the token is for another audience")
        if not is_subject(claims.sub):
            raise InvalidToken(
                f"the token's sub is not 1 to {SUBJECT_BYTES_MAX} bytes of printable text"
            )
        return claims


def _signed_by(key: PublicKey, token: str) -> bool:
    """Whether the key signed the token, with the key's own algorithm."""
    try:
        _jws.decode(token, key.key, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        return False
    return True
