"""What every section is made of: a strict, frozen model, and the checks of its values."""

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

# The shortest HS256 key that RFC 7518 section 3.2 allows.
MIN_SECRET_BYTES = 32


class Section(BaseModel):
    """A group of settings: frozen, and strict about names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def sentinel_addresses(sentinels: str | None) -> tuple[tuple[str, int], ...]:
    """Host and port of each Sentinel. Raises ValueError for a text that lists none."""
    addresses = []
    for text in (sentinels or "").split(","):
        host, _, port = text.strip().rpartition(":")
        if host and port.isdecimal():
            addresses.append((host.strip("[]"), int(port)))
        elif sentinels is not None:
            raise ValueError("must be host:port, several of them with commas in between")
    return tuple(addresses)


def named_keys(secrets: SecretStr) -> list[tuple[str | None, str]]:
    """(key id, key) of each entry `kid=key` or `key`."""
    entries = [entry.strip().partition("=") for entry in secrets.get_secret_value().split(",")]
    return [(left, right) if sign else (None, left) for left, sign, right in entries]


def _check_redis_url(url: str) -> str:
    if urlsplit(url).scheme not in {"redis", "rediss"}:
        raise ValueError("must start with redis:// or rediss://")
    return url


def _check_sentinels(sentinels: str) -> str:
    sentinel_addresses(sentinels)
    return sentinels


def _check_dsn(dsn: str) -> str:
    if urlsplit(dsn).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must start with postgresql://")
    return dsn


def _check_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"must have at least {MIN_SECRET_BYTES} bytes (openssl rand -hex 32 makes one)"
        )
    return secret


def _check_secrets(secrets: SecretStr) -> SecretStr:
    for _, key in named_keys(secrets):
        _check_secret(SecretStr(key))
    return secrets


def _check_jwks(source: str) -> str:
    if "://" in source and not source.startswith(("https://", "http://")):
        raise ValueError("must be a file, or a URL that starts with https:// or http://")
    return source


def _check_origins(origins: str) -> str:
    for origin in filter(None, (part.strip() for part in origins.split(","))):
        parts = urlsplit(origin)
        if parts.scheme not in {"https", "http"} or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{origin} is no origin: write https://shop.example, without a path")
    return origins


def _check_networks(text: str) -> str:
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            ip_network(part)
        except ValueError as error:
            raise ValueError(
                f"{part} is no network: give 10.0.0.0/8, fd00::/8 or an address, with commas"
            ) from error
    return text


Port = Annotated[int, Field(ge=0, le=65535)]
RedisUrl = Annotated[str, AfterValidator(_check_redis_url)]
Sentinels = Annotated[str, AfterValidator(_check_sentinels)]
PostgresDsn = Annotated[str, AfterValidator(_check_dsn)]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
Secrets = Annotated[SecretStr, AfterValidator(_check_secrets)]
JwksSource = Annotated[str, AfterValidator(_check_jwks)]
Origins = Annotated[str, AfterValidator(_check_origins)]
Networks = Annotated[str, AfterValidator(_check_networks)]
