"""Every setting of every process, in one frozen tree.

Order of precedence: `DROPGATE_SECTION__NAME` environment variables, then the TOML file named by
`DROPGATE_CONFIG` (or `--config`), then the defaults below. Unknown names are refused, and all
mistakes are reported together (`SettingsError`). A name ends in its unit.

`Settings(...)` itself reads nothing from outside: tests and the supervisor build one from values.
`config.sources.load_settings()` is the only place that looks at the environment and at a file.
"""

import os
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)

# The shortest HS256 key that RFC 7518 section 3.2 allows.
MIN_SECRET_BYTES = 32


def _check_redis_url(url: str) -> str:
    if urlsplit(url).scheme not in {"redis", "rediss"}:
        raise ValueError("must start with redis:// or rediss://")
    return url


def sentinel_addresses(sentinels: str | None) -> tuple[tuple[str, int], ...]:
    """Host and port of each Sentinel; ValueError where it is no list of them."""
    addresses = []
    for text in (sentinels or "").split(","):
        host, _, port = text.strip().rpartition(":")
        if host and port.isdecimal():
            addresses.append((host.strip("[]"), int(port)))
        elif sentinels is not None:
            raise ValueError("must be host:port, several of them with commas in between")
    return tuple(addresses)


def _check_sentinels(sentinels: str) -> str:
    sentinel_addresses(sentinels)
    return sentinels


def _check_dsn(dsn: str) -> str:
    if urlsplit(dsn).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must start with postgresql://")
    return dsn


def _check_other_secrets(secrets: SecretStr) -> SecretStr:
    for _, key in named_keys(secrets):
        _check_secret(SecretStr(key))
    return secrets


def named_keys(secrets: SecretStr) -> list[tuple[str | None, str]]:
    """(key id, key) of each entry `kid=key` or `key`."""
    entries = [entry.strip().partition("=") for entry in secrets.get_secret_value().split(",")]
    return [(left, right) if sign else (None, left) for left, sign, right in entries]


def _check_jwks(source: str) -> str:
    if "://" in source and not source.startswith(("https://", "http://")):
        raise ValueError("must be a file, or a URL that starts with https:// or http://")
    return source


def _check_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"must have at least {MIN_SECRET_BYTES} bytes (openssl rand -hex 32 makes one)"
        )
    return secret


def _check_origins(origins: str) -> str:
    for origin in filter(None, (part.strip() for part in origins.split(","))):
        parts = urlsplit(origin)
        if parts.scheme not in {"https", "http"} or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{origin} is no origin: write https://shop.example, without a path")
    return origins


Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A group of settings: frozen, and strict about names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(Section):
    """Where the partitions live."""

    url: Annotated[str, AfterValidator(_check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0", repr=False, description="Redis or Valkey, 6.2 or newer"
    )
    sentinels: Annotated[str, AfterValidator(_check_sentinels)] | None = Field(
        None, description="Sentinels, host:port with commas: they name the primary, not the URL"
    )
    sentinel_master: str = Field("mymaster", description="what the Sentinels call the primary")
    durability: Literal["fsync", "replica", "relaxed"] = Field(
        "fsync", description="what an answer promises; checked against the server at start"
    )
    allow_failover_loss: bool = Field(
        default=False, description="accept fsync although a replica may be promoted"
    )
    connections: PositiveInt = Field(2, description="pipelined script connections per worker")
    socket_timeout_seconds: PositiveFloat = Field(1.0, description="bound on one reply")
    connect_timeout_seconds: PositiveFloat = Field(0.5, description="bound on one connect")
    replica_wait_seconds: PositiveFloat = Field(
        0.5, description="bound on a replica's confirmation in durability replica"
    )


class PostgresSettings(Section):
    """Where the ledger lives."""

    dsn: Annotated[str, AfterValidator(_check_dsn)] = Field(
        "postgresql://127.0.0.1:5432/dropgate", repr=False, description="the ledger's database"
    )
    pool_size: PositiveInt = Field(8, description="connections per process")
    read_pool_size: PositiveInt = Field(
        4, description="connections per gateway worker for orders and other reads"
    )
    command_timeout_seconds: PositiveFloat = Field(10.0, description="bound on one statement")
    acquire_timeout_seconds: PositiveFloat = Field(2.0, description="bound on waiting for the pool")


class EventLogSettings(Section):
    """Where events go after the outbox: Kafka, or the outbox read directly."""

    kind: Literal["outbox", "kafka"] = Field("outbox", description="which event log is in use")
    bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port with commas")
    topic: str = Field("dropgate.reservations", description="events, keyed sale:partition")
    dead_letter_topic: str = Field("dropgate.dead-letters", description="events set aside")
    settlement_topic: str = Field(
        "dropgate.settlements", description="final accountings, keyed by sale"
    )
    group: str = Field("dropgate-order-writer", description="the order writers' consumer group")
    partitions: PositiveInt = Field(12, description="partitions of the topic when it is created")
    replicas: PositiveInt = Field(
        1, description="copies of a topic when it is created; 3 if you can"
    )
    linger_milliseconds: NonNegativeInt = Field(3, description="how long a produce batch waits")
    request_timeout_milliseconds: PositiveInt = Field(10_000, description="bound on one request")
    kept_events: PositiveInt = Field(
        1_000_000, description="events the ledger has that an outbox keeps while Kafka is away"
    )


def _check_networks(text: str) -> str:
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            ip_network(part)
        except ValueError as error:
            raise ValueError(
                f"{part} is no network: give 10.0.0.0/8, fd00::/8 or an address, with commas"
            ) from error
    return text


class GatewaySettings(Section):
    """The HTTP front."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8080, description="port to listen on")
    ops_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="port of its own for operators' calls and /metrics; not on `port` then"
    )
    cors_origins: Annotated[str, AfterValidator(_check_origins)] = Field(
        "", description="origins whose pages may call the API, with commas; empty: none"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(1, description="processes on the port")
    worker_slot: NonNegativeInt = Field(0, description="this worker's number, below workers")
    run_dir: Path = Field(
        Path(tempfile.gettempdir()) / f"dropgate-{os.getuid()}",
        description="folder of the metrics files that workers share",
    )
    max_body_bytes: PositiveInt = Field(8192, description="largest request body")
    request_deadline_seconds: PositiveFloat = Field(2.0, description="bound on one request")
    keepalive_timeout_seconds: PositiveFloat = Field(15.0, description="idle connection's life")
    head_timeout_seconds: PositiveFloat = Field(
        5.0, description="from a request's first byte to the end of its head"
    )
    unread_timeout_seconds: PositiveFloat = Field(
        5.0, description="for a caller to take its answers"
    )
    max_connections: PositiveInt = Field(8192, description="client connections per worker")
    max_connections_per_address: NonNegativeInt = Field(
        0, description="of them from one address; 0: no bound of its own"
    )
    backlog: PositiveInt = Field(4096, description="connections waiting to be accepted")
    max_in_flight: PositiveInt = Field(8192, description="requests at once before 503 overloaded")
    max_queue_milliseconds: PositiveInt = Field(
        1000, description="waiting for a turn before 503 overloaded"
    )
    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = Field(
        "", description="networks whose forwarded header is believed, with commas"
    )
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        "X-Forwarded-For", description="the header that those proxies write; no other is read"
    )
    batch_max_requests: PositiveInt = Field(128, description="reserves in one script call")
    pages: bool = Field(True, description="serve the storefront and operations pages")  # noqa: FBT003
    demo_shop: bool = Field(
        False,  # noqa: FBT003 - pydantic's way to name a default
        description="visitors of the storefront page buy without paying; on loopback only",
    )


class RateLimitSettings(Section):
    """How often somebody may ask. Rates are of one gateway, divided by its workers; a buyer's is of
    all gateways together.
    """

    buyer_per_second: NonNegativeFloat = Field(
        0.0, description="reserves of one buyer in a sale; 0: no limit"
    )
    buyer_burst: NonNegativeInt = Field(
        0, le=10_000, description="of them at once after a pause; 0: those of a second"
    )

    network_per_second: NonNegativeFloat = Field(
        0.0, description="calls of buyers from one client network; 0: no limit"
    )
    network_burst: NonNegativeInt = Field(
        0, description="of them at once after a pause; 0: those of a second"
    )
    sale_per_second: NonNegativeFloat = Field(
        0.0, description="calls of buyers about one sale; 0: no limit"
    )
    sale_burst: NonNegativeInt = Field(0, description="as network_burst")
    gateway_per_second: NonNegativeFloat = Field(
        0.0, description="calls of buyers in all; 0: no limit"
    )
    gateway_burst: NonNegativeInt = Field(0, description="as network_burst")
    storefront_per_second: NonNegativeFloat = Field(
        0.0, description="calls of one shop's token; 0: no limit"
    )
    storefront_burst: NonNegativeInt = Field(0, description="as network_burst")
    ops_per_second: NonNegativeFloat = Field(
        0.0, description="calls of one operator's token; 0: no limit"
    )
    ops_burst: NonNegativeInt = Field(0, description="as network_burst")

    @property
    def buyer_requests(self) -> int:
        """How many reserves a buyer may make at once."""
        return self.buyer_burst or max(1, round(self.buyer_per_second))

    @property
    def buyer_window_seconds(self) -> float:
        """Over which as many come back."""
        return self.buyer_requests / self.buyer_per_second

    @model_validator(mode="after")
    def _check_buyer_window(self) -> Self:
        if self.buyer_per_second and not 0.001 <= self.buyer_window_seconds <= 86_400:
            raise ValueError("buyer_burst must come back within a millisecond to a day")
        return self


class AuthSettings(Section):
    """Who may call."""

    secret: Annotated[SecretStr, AfterValidator(_check_secret)] | None = Field(
        None, description="HS256 key, its UTF-8 bytes"
    )
    other_secrets: Annotated[SecretStr, AfterValidator(_check_other_secrets)] | None = Field(
        None,
        description="more HS256 keys that verify, with commas; `kid=key` for tokens of that key id",
    )
    jwks: Annotated[str, AfterValidator(_check_jwks)] | None = Field(
        None, description="URL or file of the public keys (JWK Set) for EdDSA and RS256"
    )
    jwks_refresh_seconds: PositiveFloat = Field(300.0, description="pause between reads of it")
    jwks_least_pause_seconds: PositiveFloat = Field(
        10.0, description="least pause before it is read again for an unknown key id"
    )
    jwks_stale_seconds: PositiveFloat = Field(
        3600.0, description="how long the last good set goes on while it cannot be read"
    )
    audience: str = Field("dropgate", description="required aud of a token")
    leeway_seconds: NonNegativeInt = Field(30, description="clock difference tolerated in exp")

    @property
    def hs256_keys(self) -> tuple[tuple[str | None, str], ...]:
        """(key id, key) of every shared secret, the one that signs first."""
        found: list[tuple[str | None, str]] = []
        if self.secret is not None:
            found.append((None, self.secret.get_secret_value()))
        if self.other_secrets is not None:
            found += named_keys(self.other_secrets)
        return tuple(found)


class InventorySettings(Section):
    """Bounds inside a partition."""

    outbox_bound_events: PositiveInt = Field(
        1_000_000, description="events beyond the watermark before reserve answers 503"
    )
    sweep_bound: PositiveInt = Field(64, description="due holds one reserve may return itself")


class WaitingRoomSettings(Section):
    """How waiting rooms are looked at and paced."""

    refresh_milliseconds: PositiveInt = Field(
        250, description="pause between a worker's looks at a room"
    )
    tick_milliseconds: PositiveInt = Field(
        250, description="least time between two ticks of a room, over all workers"
    )
    quick_milliseconds: PositiveInt = Field(
        100, description="a look that takes longer, worker and Redis together, slows the room"
    )
    stock_factor: PositiveFloat = Field(
        1.0, description="most live admissions for each unit that is left or may return"
    )
    poll_most_seconds: PositiveInt = Field(30, description="longest poll interval told to a buyer")
    streams_max: PositiveInt = Field(10_000, description="event streams open in one worker")
    heartbeat_seconds: PositiveFloat = Field(
        15.0, description="silence of an event stream before a heartbeat"
    )


class OrderWriterSettings(Section):
    """How the ledger is written."""

    batch_max_events: PositiveInt = Field(2000, description="events in one transaction")
    batch_wait_milliseconds: NonNegativeInt = Field(50, description="how long a batch may fill")


class ReconcilerSettings(Section):
    """How often the duties run."""

    expire_interval_milliseconds: PositiveInt = Field(100, description="pause between sweeps")
    expire_batch: PositiveInt = Field(100, description="holds expired in one script call")
    trim_interval_seconds: PositiveFloat = Field(1.0, description="pause between outbox trims")
    compare_interval_seconds: PositiveFloat = Field(30.0, description="pause between comparisons")


class MetricsSettings(Section):
    """Where relay, order writer and reconciler show their metrics."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(0, description="port of `/metrics`; 0: none is opened")


class TracingSettings(Section):
    """Where OpenTelemetry spans go; needs the extra `otel`."""

    endpoint: str | None = Field(
        None,
        description="OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; none: no spans",
    )
    ratio: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.01, description="part of all reservations that is traced"
    )


class LogSettings(Section):
    """How processes speak."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )
    buyer_ids: Literal["clear", "hashed"] = Field(
        "clear", description="hashed: a keyed hash stands where a buyer's id would"
    )
    hash_key: Annotated[SecretStr, AfterValidator(_check_secret)] | None = Field(
        None, description="key of that hash, the same for every process"
    )

    @model_validator(mode="after")
    def _check_hash_key(self) -> "LogSettings":
        if self.buyer_ids == "hashed" and self.hash_key is None:
            raise ValueError("buyer_ids = hashed needs hash_key (openssl rand -hex 32 makes one)")
        return self


class Settings(Section):
    """The whole tree; each process uses the sections it needs."""

    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    event_log: EventLogSettings = EventLogSettings()
    gateway: GatewaySettings = GatewaySettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    auth: AuthSettings = AuthSettings()
    inventory: InventorySettings = InventorySettings()
    waiting_room: WaitingRoomSettings = WaitingRoomSettings()
    order_writer: OrderWriterSettings = OrderWriterSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
