"""Bearer tokens: who calls, and as what.

HS256 is on the hot path, so it is verified here with `hmac` and msgspec; the algorithm is the
verifier's, never the token's. Everything that is not a valid token of this audience is one and the
same `InvalidToken`: its message is for the caller and never has the token in it.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from enum import StrEnum
from functools import lru_cache
from hmac import compare_digest, digest

import msgspec

TOKEN_BYTES_MAX = 4096
SUBJECT_BYTES_MAX = 128


class InvalidToken(Exception):
    """No valid token; the message says what is wrong with it."""


class Scope(StrEnum):
    """What a caller may be; a token has exactly one."""

    BUYER = "buyer"
    STOREFRONT = "storefront"
    OPS = "ops"


class Principal(msgspec.Struct, frozen=True):
    """A caller whose token was verified."""

    subject: str
    scope: Scope


class _Header(msgspec.Struct, frozen=True):
    alg: str
    crit: msgspec.Raw | None = None


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    aud: str | list[str]
    exp: int | float
    scope: Scope
    nbf: int | float = 0
    iat: int | float = 0


_claims = msgspec.json.Decoder(_Claims)
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", None, b"==", b"=")


def _decoded(segment: bytes) -> bytes:
    """Bytes of a base64url segment; the lenient decoder would skip what it does not know."""
    padding = _PADDING[len(segment) % 4]
    if padding is None or b"+" in segment or b"/" in segment or b"=" in segment:
        raise InvalidToken("the token is not a JWT")
    try:
        return a2b_base64(segment.translate(_URL_TO_STANDARD) + padding, strict_mode=True)
    except Base64Error as error:
        raise InvalidToken("the token is not a JWT") from error


@lru_cache(maxsize=256)
def _is_hs256(segment: bytes) -> bool:
    """Whether a header names HS256 and demands nothing we do not know (`crit`)."""
    try:
        header = msgspec.json.decode(_decoded(segment), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidToken):
        return False
    return header.alg == "HS256" and header.crit is None


def is_subject(text: str) -> bool:
    """Whether a text can name a buyer or a service: 1-128 bytes of printable characters."""
    return text.isprintable() and 1 <= len(text.encode()) <= SUBJECT_BYTES_MAX


class TokenVerifier:
    """Verifies HS256 tokens of one audience; `leeway_seconds` tolerates clocks that differ."""

    def __init__(self, secret: str, audience: str, leeway_seconds: int) -> None:
        """`secret`: the key is its UTF-8 bytes."""
        self._key = secret.encode()
        self._audience = audience
        self._leeway_seconds = leeway_seconds

    def verify_header(self, authorization: str | None) -> Principal:
        """The caller of an `Authorization` header. Raises InvalidToken."""
        if authorization is None:
            raise InvalidToken("a bearer token is required")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken("the Authorization header is not of the form: Bearer <token>")
        return self.verify(token.strip(" "))

    def verify(self, token: str) -> Principal:
        """The caller a token names. Raises InvalidToken."""
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise InvalidToken("the token is not a JWT")
        signed, _, signature = token.encode().rpartition(b".")
        header, dot, payload = signed.partition(b".")
        if not dot or b"." in payload or not _is_hs256(header):
            raise InvalidToken("the token is not a JWT signed with HS256")
        expected = urlsafe_b64encode(digest(self._key, signed, "sha256")).rstrip(b"=")
        if not compare_digest(expected, signature):
            raise InvalidToken("the token's signature is wrong")
        try:
            claims = _claims.decode(_decoded(payload))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidToken("the token lacks sub, aud, exp or a known scope") from error
        self._check(claims)
        return Principal(claims.sub, claims.scope)

    def _check(self, claims: _Claims) -> None:
        now, leeway = time.time(), self._leeway_seconds
        if claims.exp <= now - leeway:
            raise InvalidToken("the token has expired")
        if max(claims.nbf, claims.iat) > now + leeway:
            raise InvalidToken("the token is not valid yet")
        audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise InvalidToken("the token is for another audience")
        if not is_subject(claims.sub):
            raise InvalidToken("the token's sub is not 1 to 128 bytes of printable text")
