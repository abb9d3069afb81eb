"""`dropgate up`, sentence by sentence, with real processes and real kills."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import closing

import aiohttp
import asyncpg
import psutil
import pytest
import pytest_asyncio
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient

from config.client import Api, ApiError, make_token
from config.ready import NAMES, ReadyFile
from tests.support.up import NewUp, Up
from tests.support.waiting import WAIT_SECONDS, wait_until

SALE = "nothing-lost"
SALE_SPEC = b"""{"hold_seconds": 600, "items": [
    {"sku": "shoe", "price": {"amount": 100, "currency": "EUR"}, "stock": 10}]}"""


@pytest_asyncio.fixture(scope="module")
async def running(up: Up) -> AsyncIterator[Up]:
    """The module's `up`; every test leaves it serving."""
    yield up
    assert up.process.poll() is None, up.output


async def is_ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def descendants(up: Up) -> list[psutil.Process]:
    return psutil.Process(up.process.pid).children(recursive=True)


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def ops(ready: ReadyFile) -> Api:
    return Api(ready.gateway, token_of(ready, "ops"))


def token_of(ready: ReadyFile, scope: str, subject: str = "test") -> str:
    return make_token(
        ready.auth_secret, scope=scope, subject=subject, audience="dropgate", life_seconds=600
    )


async def test_the_ready_file_has_exactly_the_promised_fields(running: Up) -> None:
    ready = running.ready
    assert ready.__struct_fields__ == (
        *("gateway", "redis", "postgres", "kafka", "auth_secret", "pids"),
    )
    assert ready.gateway.startswith("http://127.0.0.1:")
    assert ready.redis.startswith("redis://127.0.0.1:")
    assert ready.postgres.startswith("postgresql://")
    assert ready.kafka is None
    assert len(ready.auth_secret) >= 32
    names = ["redis", "postgres", "gateway", "order_writer", "reconciler"]
    assert list(ready.pids) == names
    assert all(len(pids) == 1 for pids in ready.pids.values())
    assert stat.S_IMODE(running.ready_path.stat().st_mode) == 0o600, "it holds the secret"


async def test_everything_serves_when_the_ready_file_is_there(running: Up) -> None:
    ready = running.ready
    assert await is_ready(ready.gateway)
    async with redis.asyncio.Redis.from_url(ready.redis, protocol=2) as client:
        assert await client.ping()
    connection = await asyncpg.connect(ready.postgres)
    for table in ("sales", "ledger_events", "reservations", "stock_accounts", "watermarks"):
        assert await connection.fetchval("SELECT to_regclass($1)", table), table
    await connection.close()


async def test_the_first_pid_is_the_server_itself(running: Up) -> None:
    pids = running.ready.pids
    assert psutil.Process(pids["redis"][0]).name().startswith(("redis-server", "valkey-server"))
    postmaster = psutil.Process(pids["postgres"][0])
    assert postmaster.name() == "postgres"

    def are_its_own() -> bool:
        try:
            return {child.name() for child in postmaster.children()} == {"postgres"}
        except psutil.NoSuchProcess:  # a child has ended since
            return False

    await wait_until(are_its_own, "its children are its backends")
    assert {psutil.Process(pid).ppid() for group in pids.values() for pid in group} == {
        running.process.pid
    }


@pytest.mark.parametrize("name", ["redis", "postgres", "gateway", "order_writer", "reconciler"])
async def test_whatever_dies_is_restarted_on_the_same_address(running: Up, name: str) -> None:
    before = running.ready
    pid = before.pids[name][0]
    half_written: list[Exception] = []
    watching = asyncio.create_task(_read_all_the_time(running, half_written))

    os.kill(pid, signal.SIGKILL)
    after = await running.ready_where(name, not_pid=pid)

    await wait_until(lambda: is_ready(after.gateway), f"ready after kill of {name}")
    watching.cancel()
    assert half_written == []
    after = running.ready
    assert after.pids[name][0] != pid
    assert psutil.pid_exists(after.pids[name][0])
    for other in before.pids:
        if other != name:
            assert after.pids[other] == before.pids[other], f"{other} was left alone"
    assert (after.gateway, after.redis, after.postgres, after.auth_secret) == (
        *(before.gateway, before.redis, before.postgres, before.auth_secret),
    )
    connection = await asyncpg.connect(after.postgres)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def _read_all_the_time(up: Up, failures: list[Exception]) -> None:
    while True:
        try:
            _ = up.ready
        except Exception as error:  # noqa: BLE001 - whatever a reader may see wrong
            failures.append(error)
        await asyncio.sleep(0)


async def test_postgres_returns_although_its_orphans_hold_on(running: Up) -> None:
    ready = running.ready
    busy = await asyncpg.connect(ready.postgres)
    query = asyncio.create_task(busy.fetchval("SELECT pg_sleep(60)"))
    pid = ready.pids["postgres"][0]
    backends = psutil.Process(pid).children()
    stopped = psutil.Process(busy.get_server_pid())
    await wait_until(lambda: "SELECT" in stopped.cmdline()[0], "it is busy")
    stopped.suspend()  # it cannot notice that its postmaster is gone

    os.kill(pid, signal.SIGKILL)
    await running.ready_where("postgres", not_pid=pid)

    await wait_until(lambda: is_ready(ready.gateway))
    assert still_running(backends) == []
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await query


async def test_a_second_up_on_the_same_folder_is_refused(running: Up, new_up: NewUp) -> None:
    second = new_up("--data-dir", str(running.data))
    second.launch()
    assert await asyncio.to_thread(second.process.wait, WAIT_SECONDS) == 1
    assert "in use by another dropgate up" in second.output
    assert str(running.process.pid) in second.output
    assert "--data-dir" in second.output, "the error names the next step"
    assert not second.ready_path.exists()
    assert await is_ready(running.ready.gateway)


async def test_a_taken_port_is_a_clear_error(new_up: NewUp) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = new_up("--port", str(port))
        up.launch()
        assert await asyncio.to_thread(up.process.wait, WAIT_SECONDS) == 1
    assert f"port {port} cannot be used" in up.output
    assert "--port" in up.output


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("DROPGATE_REDIS__DURABILITY", "replica", "no replica"),
        ("DROPGATE_REDIS__SENTINELS", "127.0.0.1:26379", "no Sentinel"),
    ],
)
async def test_a_redis_it_does_not_run_is_refused(
    new_up: NewUp, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)
    up = new_up()
    up.launch()
    assert await asyncio.to_thread(up.process.wait, WAIT_SECONDS) == 1
    assert reason in up.output
    assert variable in up.output


async def test_sigterm_stops_all_and_the_folder_continues_with_nothing_lost(
    new_up: NewUp,
) -> None:
    up = new_up("--workers", "2")
    first = await up.start()
    assert len(first.pids["gateway"]) == 2
    await asyncio.to_thread(ops(first).call, "PUT", f"/v1/sales/{SALE}", SALE_SPEC)
    await asyncio.to_thread(ops(first).call, "POST", f"/v1/sales/{SALE}/open")
    reservation_id = await _reserve(first)
    children = descendants(up)
    assert len(children) >= 6

    assert await up.stop(signal.SIGTERM) == 0

    assert still_running(children) == []
    assert not up.ready_path.exists()
    second = await up.start()
    assert second.auth_secret == first.auth_secret
    storefront = Api(second.gateway, token_of(second, "storefront"))

    async def confirmed() -> bool:
        path = f"/v1/reservations/{reservation_id}/confirm"
        body = b'{"payment_reference": "paid-1"}'
        try:
            answer = await asyncio.to_thread(storefront.call, "POST", path, body)
        except ApiError as error:
            if error.code != "recovering":
                raise
            return False
        return bool(answer["state"] == "confirmed")

    await wait_until(confirmed)
    assert await up.stop(signal.SIGINT) == 0


async def _reserve(ready: ReadyFile) -> str:
    headers = {
        "Authorization": f"Bearer {token_of(ready, 'buyer', 'ann')}",
        "Idempotency-Key": "first",
    }
    body = {"lines": [{"sku": "shoe", "quantity": 1}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{ready.gateway}/v1/sales/{SALE}/reservations", json=body, headers=headers
        ) as response,
    ):
        assert response.status == 201, await response.text()
        return str((await response.json())["reservation_id"])


async def test_sigterm_while_starting_leaves_no_child(new_up: NewUp) -> None:
    up = new_up()
    up.launch()
    await wait_until(lambda: len(descendants(up)) >= 2, "servers are starting")
    children = descendants(up)
    assert await up.stop() == 0
    assert still_running(children) == []
    assert not up.ready_path.exists()


async def test_a_killed_up_takes_its_children_along_and_can_be_started_again(
    new_up: NewUp,
) -> None:
    up = new_up()
    await up.start()
    children = descendants(up)
    await up.stop(signal.SIGKILL)

    second = await up.start()  # at once, while the old servers may still be dying

    assert await is_ready(second.gateway)
    assert still_running(children) == []
    assert await up.stop() == 0


async def test_a_stopped_child_does_not_stop_the_stop(new_up: NewUp) -> None:
    up = new_up()
    ready = await up.start()
    children = descendants(up)
    for name in ("redis", "gateway", "order_writer"):
        os.kill(ready.pids[name][0], signal.SIGSTOP)
    assert await up.stop() == 0
    assert still_running(children) == []


async def test_up_with_kafka(new_up: NewUp) -> None:
    up = new_up("--event-log", "kafka")
    ready = await up.start()
    assert tuple(ready.pids) == NAMES
    assert ready.kafka is not None
    assert psutil.Process(ready.pids["kafka"][0]).name() == "java"
    await _topics_are_there(ready.kafka)

    for name in ("kafka", "relay"):
        pid = up.ready.pids[name][0]
        os.kill(pid, signal.SIGKILL)
        await up.ready_where(name, not_pid=pid)
        await wait_until(lambda: is_ready(ready.gateway), f"ready after {name}")

    assert up.ready.kafka == ready.kafka
    await wait_until(lambda: _answers(str(ready.kafka)), "Kafka serves again")
    await _topics_are_there(ready.kafka)
    children = descendants(up)
    assert await up.stop() == 0
    assert still_running(children) == []


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


async def _topics_are_there(bootstrap: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    topics = await client.describe_topics(["dropgate.reservations", "dropgate.dead-letters"])
    await client.close()
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in topics}
    assert partitions == {"dropgate.reservations": 12, "dropgate.dead-letters": 1}
