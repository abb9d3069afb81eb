"""The running system under load: where it listens, and tokens to call it with."""

import hmac
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec

TOKEN_LIFE_SECONDS = 3600
AUDIENCE = "dropgate"


class Target(msgspec.Struct, frozen=True):
    """Addresses and the shared secret; the fields of the ready file of `dropgate up`."""

    gateway: str
    redis: str
    postgres: str
    auth_secret: str

    @classmethod
    def from_ready_file(cls, path: Path) -> Self:
        """Read the file; raises OSError and msgspec.ValidationError."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


def _base64url(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


_HEADER = _base64url(b'{"alg":"HS256","typ":"JWT"}')


class _Claims(msgspec.Struct, frozen=True):
    aud: str
    sub: str
    scope: str
    exp: int


def mint_token(secret: str, scope: str, subject: str) -> str:
    """A token good for an hour. Takes a few microseconds: every buyer has a token of their own."""
    claims = _Claims(AUDIENCE, subject, scope, int(time.time()) + TOKEN_LIFE_SECONDS)
    signed = _HEADER + b"." + _base64url(msgspec.json.encode(claims))
    signature = hmac.digest(secret.encode(), signed, sha256)
    return (signed + b"." + _base64url(signature)).decode()
