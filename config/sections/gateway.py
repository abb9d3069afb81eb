"""The HTTP side: the gateway, its rate limits, who may call, and waiting rooms."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from config.sections.section import (
    JwksSource,
    Networks,
    Origins,
    Port,
    Secret,
    Secrets,
    Section,
    named_keys,
)


class GatewaySettings(Section):
    """The HTTP front."""

    host: str = Field("127.0.0.1", description="address that the gateway listens on")
    port: Port = Field(8080, description="port that the gateway listens on")
    ops_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="separate port for operators' calls and `/metrics`, which `gateway.port` then "
        "refuses; none: `gateway.port` serves everything",
    )
    cors_origins: Origins = Field(
        "", description="origins whose pages may call the API, with commas; none: no other origin"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="worker processes that share the gateway's port"
    )
    worker_slot: NonNegativeInt = Field(
        0, description="number of this worker, from 0; set for each worker by the command"
    )
    run_dir: Path = Field(
        Path(tempfile.gettempdir()) / f"dropgate-{os.getuid()}",
        description="folder of the files in which the workers of a gateway add up their metrics",
    )
    max_body_bytes: PositiveInt = Field(
        8192, description="largest body of a request, in bytes; a sale's `PUT` may have 262144"
    )
    request_deadline_seconds: PositiveFloat = Field(
        2.0, description="seconds for which a reserve is repeated while its outcome is unknown"
    )
    keepalive_timeout_seconds: PositiveFloat = Field(
        15.0,
        description="seconds after which an idle connection is closed; a proxy must close its own "
        "earlier",
    )
    head_timeout_seconds: PositiveFloat = Field(
        5.0, description="seconds from the first byte of a request to the end of its head"
    )
    unread_timeout_seconds: PositiveFloat = Field(
        5.0, description="seconds that a caller may leave answers unread before it is cut off"
    )
    max_connections: PositiveInt = Field(8192, description="client connections allowed per worker")
    max_connections_per_address: NonNegativeInt = Field(
        0, description="client connections allowed per worker and client address; 0 = unlimited"
    )
    backlog: PositiveInt = Field(
        4096, description="connections that the kernel queues until a worker accepts them"
    )
    max_in_flight: PositiveInt = Field(
        8192, description="requests in flight per worker, above which load is shed with 503"
    )
    max_queue_milliseconds: PositiveInt = Field(
        1000,
        description="milliseconds that a reserve may wait for its turn; above, load is shed "
        "with 503",
    )
    trusted_proxies: Networks = Field(
        "",
        description="networks of the proxies whose `gateway.forwarded_header` is believed, with "
        "commas",
    )
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        "X-Forwarded-For",
        description="header in which trusted proxies name the client; other headers are ignored",
    )
    batch_max_requests: PositiveInt = Field(
        128, description="most reserves that a worker puts into one script call"
    )
    batch_max_lines: PositiveInt = Field(
        256, description="most lines that the reserves of one script call have together"
    )
    pages: bool = Field(
        default=True, description="serve the storefront page and the operations page"
    )
    demo_shop: bool = Field(
        default=False,
        description="let visitors of the storefront page buy without paying; on loopback only",
    )


class RateLimitSettings(Section):
    """How often somebody may ask. Rates are of one gateway, divided by its workers; a buyer's is of
    all gateways together.
    """

    buyer_per_second: NonNegativeFloat = Field(
        0.0, description="reserves per second of one buyer in one sale; 0 = unlimited"
    )
    buyer_burst: NonNegativeInt = Field(
        0,
        le=10_000,
        description="reserves of one buyer in one sale at once after a pause; 0 = as many as in "
        "one second",
    )
    network_per_second: NonNegativeFloat = Field(
        0.0,
        description="calls per second of buyers, and without a token, from one client network "
        "(IPv4 /24, IPv6 /56); 0 = unlimited",
    )
    network_burst: NonNegativeInt = Field(
        0,
        description="calls from one client network at once after a pause; 0 = as many as in one "
        "second",
    )
    sale_per_second: NonNegativeFloat = Field(
        0.0,
        description="calls per second of buyers, and without a token, about one sale; "
        "0 = unlimited",
    )
    sale_burst: NonNegativeInt = Field(
        0,
        description="buyers' calls about one sale at once after a pause; 0 = as many as in one "
        "second",
    )
    gateway_per_second: NonNegativeFloat = Field(
        0.0,
        description="calls per second of all buyers, and without a token; 0 = unlimited",
    )
    gateway_burst: NonNegativeInt = Field(
        0,
        description="calls of all buyers at once after a pause; 0 = as many as in one second",
    )
    storefront_per_second: NonNegativeFloat = Field(
        0.0, description="calls per second of one shop (a token's subject); 0 = unlimited"
    )
    storefront_burst: NonNegativeInt = Field(
        0, description="calls of one shop at once after a pause; 0 = as many as in one second"
    )
    ops_per_second: NonNegativeFloat = Field(
        0.0, description="calls per second of one operator (a token's subject); 0 = unlimited"
    )
    ops_burst: NonNegativeInt = Field(
        0, description="calls of one operator at once after a pause; 0 = as many as in one second"
    )

    @property
    def buyer_requests(self) -> int:
        """How many reserves a buyer may make at once."""
        return self.buyer_burst or max(1, round(self.buyer_per_second))

    @property
    def buyer_window_seconds(self) -> float:
        """The time in which a buyer regains a whole burst."""
        return self.buyer_requests / self.buyer_per_second

    @model_validator(mode="after")
    def _check_buyer_window(self) -> Self:
        if self.buyer_per_second and not 0.001 <= self.buyer_window_seconds <= 86_400:
            raise ValueError("buyer_burst must come back within a millisecond to a day")
        return self


class AuthSettings(Section):
    """Who may call."""

    secret: Secret | None = Field(
        None,
        description="HS256 key that signs and verifies tokens, at least 32 bytes of UTF-8",
    )
    other_secrets: Secrets | None = Field(
        None,
        description="more HS256 keys that verify tokens, with commas; `kid=key` verifies tokens "
        "of that key id only",
    )
    jwks: JwksSource | None = Field(
        None,
        description="URL or file of a JWK Set with the public keys that verify EdDSA and RS256 "
        "tokens",
    )
    jwks_refresh_seconds: PositiveFloat = Field(
        300.0, description="seconds between two reads of the JWK Set"
    )
    jwks_least_pause_seconds: PositiveFloat = Field(
        10.0,
        description="least seconds between two reads of the JWK Set for tokens with an unknown "
        "key id",
    )
    jwks_stale_seconds: PositiveFloat = Field(
        3600.0,
        description="seconds that the last JWK Set read stays in use while its source fails",
    )
    audience: str = Field("dropgate", description="`aud` that a token must have")
    leeway_seconds: NonNegativeInt = Field(
        30, description="seconds that a token's `exp` may be past, for clocks that differ"
    )

    @property
    def hs256_keys(self) -> tuple[tuple[str | None, str], ...]:
        """(key id, key) of every shared secret; the first one signs."""
        found: list[tuple[str | None, str]] = []
        if self.secret is not None:
            found.append((None, self.secret.get_secret_value()))
        if self.other_secrets is not None:
            found += named_keys(self.other_secrets)
        return tuple(found)


class WaitingRoomSettings(Section):
    """How waiting rooms are read and paced."""

    refresh_milliseconds: PositiveInt = Field(
        250, description="milliseconds between two reads of a waiting room by a worker"
    )
    tick_milliseconds: PositiveInt = Field(
        250, description="least milliseconds between two ticks of a waiting room, over all workers"
    )
    quick_milliseconds: PositiveInt = Field(
        100,
        description="milliseconds that one read of a waiting room may take, in the worker and in "
        "Redis together; a longer read slows the room",
    )
    stock_factor: PositiveFloat = Field(
        1.0, description="live admissions allowed per unit that is left or may return"
    )
    poll_most_seconds: PositiveInt = Field(
        30, description="longest pause, in seconds, that a waiting buyer is asked to poll at"
    )
    streams_max: PositiveInt = Field(
        10_000, description="event streams that one worker may have open"
    )
    heartbeat_seconds: PositiveFloat = Field(
        15.0, description="seconds without an event after which a stream sends a heartbeat"
    )
