"""The servers behind dropgate: Redis, PostgreSQL and the event log."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from config.sections.section import PostgresDsn, RedisUrl, Section, Sentinels


class RedisSettings(Section):
    """Where the partitions live."""

    url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="address of Redis or Valkey, version 6.2 or newer",
    )
    sentinels: Sentinels | None = Field(
        None,
        description="addresses of the Sentinels, host:port with commas; they name the primary then",
    )
    sentinel_master: str = Field(
        "mymaster", description="name of the primary in the Sentinels' configuration"
    )
    durability: Literal["fsync", "replica", "relaxed"] = Field(
        "fsync",
        description="what an answer promises: `fsync` (on disk), `replica` (on a replica, too) or "
        "`relaxed` (neither); compared with Redis's configuration at start",
    )
    allow_failover_loss: bool = Field(
        default=False,
        description="start with durability `fsync` although a replica, which may lack the last "
        "writes, can become the primary",
    )
    connections: PositiveInt = Field(
        2, description="connections per worker for script calls, each with many calls under way"
    )
    socket_timeout_seconds: PositiveFloat = Field(
        1.0, description="seconds that Redis may take for one reply"
    )
    connect_timeout_seconds: PositiveFloat = Field(
        0.5, description="seconds that connecting to Redis may take"
    )
    replica_wait_seconds: PositiveFloat = Field(
        0.5, description="seconds that a replica may take to confirm, with durability `replica`"
    )


class PostgresSettings(Section):
    """Where the ledger lives."""

    dsn: PostgresDsn = Field(
        "postgresql://127.0.0.1:5432/dropgate",
        repr=False,
        description="address of the PostgreSQL database that holds the ledger",
    )
    pool_size: PositiveInt = Field(8, description="most connections to PostgreSQL per process")
    read_pool_size: PositiveInt = Field(
        4,
        description="most connections to PostgreSQL per gateway worker for reads of orders, beside "
        "`postgres.pool_size`",
    )
    command_timeout_seconds: PositiveFloat = Field(
        10.0, description="seconds that PostgreSQL may take for one statement"
    )
    acquire_timeout_seconds: PositiveFloat = Field(
        2.0, description="seconds to wait for a free connection to PostgreSQL"
    )


class EventLogSettings(Section):
    """Where events go after the outbox: Kafka, or the outbox read directly."""

    kind: Literal["outbox", "kafka"] = Field(
        "outbox",
        description="event log of the order writer: `kafka`, or `outbox` to read the outboxes "
        "themselves",
    )
    bootstrap: str = Field(
        "127.0.0.1:9092", description="addresses of Kafka brokers, host:port with commas"
    )
    topic: str = Field(
        "dropgate.reservations", description="Kafka topic of the events, keyed by sale:partition"
    )
    dead_letter_topic: str = Field(
        "dropgate.dead-letters", description="Kafka topic of events that could not be applied"
    )
    settlement_topic: str = Field(
        "dropgate.settlements", description="Kafka topic of final accountings, keyed by sale"
    )
    group: str = Field(
        "dropgate-order-writer", description="Kafka consumer group that all order writers share"
    )
    partitions: PositiveInt = Field(
        12, description="partitions of the events' Kafka topic when `dropgate migrate` makes it"
    )
    replicas: PositiveInt = Field(
        1,
        description="copies of each Kafka topic when `dropgate migrate` makes it; 3 in production",
    )
    linger_milliseconds: NonNegativeInt = Field(
        3, description="milliseconds that the relay waits to fill a batch for Kafka"
    )
    request_timeout_milliseconds: PositiveInt = Field(
        10_000, description="milliseconds that Kafka may take for one request"
    )
    kept_events: PositiveInt = Field(
        1_000_000,
        description="most events that an outbox keeps for Kafka after the ledger has applied them; "
        "reached only while Kafka is away",
    )
