"""The servers of the local stack: real, restartable after kill -9, gone with their parent."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from config.settings import EventLogSettings
from config.stack.kafka import KafkaServer
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer, embedded_binary
from tests.support.servers import unique
from tests.support.waiting import WAIT_SECONDS, wait_until


async def _kill(server: RedisServer | PostgresServer | KafkaServer) -> int:
    pid = server.pid
    server.kill()
    assert await server.child.wait_exit(WAIT_SECONDS)
    return pid


def _client(server: RedisServer) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(server.url, protocol=2, decode_responses=True)


async def test_redis_keeps_every_answered_write_over_kill_9(servers_folder: Path) -> None:
    server = RedisServer(servers_folder / unique("redis"))
    await server.start()
    url = server.url
    async with _client(server) as client:
        await client.set("answered", "yes")
    killed = await _kill(server)

    await server.start()

    assert server.pid != killed
    assert server.url == url
    async with _client(server) as client:
        assert await client.get("answered") == "yes"
    await server.stop()
    assert not server.alive


async def test_redis_runs_as_the_field_notes_ask(each_redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(each_redis_url, protocol=2, decode_responses=True)
    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction",
        "lua-time-limit": "200",
        "save": "",
    }
    found = {name: (await client.config_get(name))[name] for name in wanted}
    await client.aclose()
    assert found == wanted


async def test_redis_takes_overrides_and_a_given_binary(servers_folder: Path) -> None:
    server = RedisServer(
        servers_folder / unique("redis"),
        binary=embedded_binary(),
        overrides={"appendfsync": "everysec"},
    )
    await server.start()
    assert server.version[:2] == (6, 2)
    async with _client(server) as client:
        assert (await client.config_get("appendfsync"))["appendfsync"] == "everysec"
    await server.stop()


async def test_postgres_survives_kill_9_under_load(servers_folder: Path) -> None:
    server = PostgresServer(servers_folder / unique("postgres"))
    await server.start()
    dsn = server.dsn
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SHOW data_checksums") == "on"
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.execute("CREATE TABLE answered (number int)")
    await connection.execute("INSERT INTO answered VALUES (1)")
    busy = asyncio.create_task(connection.fetchval("SELECT pg_sleep(30)"))
    observer = await asyncpg.connect(dsn)

    async def is_busy() -> bool:
        active = "SELECT query FROM pg_stat_activity WHERE state = 'active'"
        return any("pg_sleep" in query for (query,) in await observer.fetch(active))

    await wait_until(is_busy)
    killed = await _kill(server)

    await server.start()

    assert server.pid != killed
    assert server.dsn == dsn
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await busy
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT number FROM answered") == 1
    await connection.close()
    await server.stop()
    await wait_until(lambda: server.orphans() == [], "nothing of it is left")


async def test_postgres_refuses_a_wrong_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.dsn, password="guessed")


async def test_kafka_keeps_its_log_over_kill_9(
    kafka_server: KafkaServer, kafka_event_log: EventLogSettings
) -> None:
    await _produce(kafka_event_log, b"first")
    killed = await _kill(kafka_server)

    await kafka_server.start()

    assert kafka_server.pid != killed
    await _produce(kafka_event_log, b"second")
    consumer = AIOKafkaConsumer(
        kafka_event_log.topic,
        bootstrap_servers=kafka_event_log.bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    async with asyncio.timeout(WAIT_SECONDS):
        values = [(await consumer.getone()).value for _ in range(2)]
    assert len(consumer.partitions_for_topic(kafka_event_log.topic) or ()) == 12
    await consumer.stop()
    assert values == [b"first", b"second"]


async def _produce(settings: EventLogSettings, value: bytes) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, enable_idempotence=True, acks="all"
    )
    await producer.start()
    async with asyncio.timeout(WAIT_SECONDS):
        await producer.send_and_wait(settings.topic, value, key=b"sale:0")
    await producer.stop()


PARENT = """
import asyncio, sys
from pathlib import Path
from config.stack.postgres import PostgresServer
from config.stack.redis import RedisServer

async def main():
    folder = Path(sys.argv[1])
    servers = [RedisServer(folder / "redis"), PostgresServer(folder / "postgres")]
    for server in servers:
        await server.start()
    print(*(server.pid for server in servers), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_servers_die_with_their_parent(servers_folder: Path) -> None:
    folder = servers_folder / unique("orphans")
    parent = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
    assert len(pids) == 2
    assert all(_runs(pid) for pid in pids)

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    await wait_until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # the process has just ended
        return False
    # A process that nobody has waited for yet is dead, too.
    return "\nState:\tZ" not in status
