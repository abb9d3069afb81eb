"""The commands an operator types, against a running `dropgate up`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import jwt
import psutil
import pytest
from redis.asyncio import Redis

from config.settings import Settings
from config.sources import environment_of
from config.stack.server import free_port
from tests.support.command import dropgate
from tests.support.servers import unique
from tests.support.up import Up
from tests.support.waiting import WAIT_SECONDS, wait_until

SPEC = {
    "hold_seconds": 60,
    "per_buyer_limit": 2,
    "items": [{"sku": "shoe", "price": {"amount": 100, "currency": "EUR"}, "stock": 10}],
}
COMMANDS = (
    *("up", "demo", "gateway", "relay", "order-writer", "reconciler", "migrate", "sale", "stock"),
    *("duty", "reconcile", "verify", "token", "config", "loadtest", "top", "dead-letters"),
)


async def test_help_names_every_command() -> None:
    done = await dropgate("--help")
    assert done.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.output, command


async def test_a_shell_can_complete_commands() -> None:
    done = await dropgate(
        environment={
            "_DROPGATE_COMPLETE": "complete_bash",
            "COMP_WORDS": "dropgate sale se",
            "COMP_CWORD": "2",
        }
    )
    assert done.output.split() == ["settle"]


async def test_config_check_shows_every_setting_and_masks_secrets() -> None:
    secret = "s" * 32
    done = await dropgate(
        *("config", "check"),
        environment={
            "DROPGATE_AUTH__SECRET": secret,
            "DROPGATE_POSTGRES__DSN": "postgresql://ann:hunter2@localhost/dropgate",
        },
    )
    assert done.status == 0, done.errors
    assert secret not in done.output
    assert "hunter2" not in done.output
    lines = {line.split()[0]: line for line in done.output.splitlines()}
    assert "environment" in lines["postgres.dsn"]
    assert "default" in lines["redis.url"]
    assert len(lines) == sum(
        len(type(getattr(Settings(), section)).model_fields) for section in Settings.model_fields
    )


async def test_wrong_settings_are_all_named_at_once() -> None:
    done = await dropgate(
        *("config", "check"),
        environment={"DROPGATE_REDIS__CONNECTIONS": "none", "DROPGATE_REDISURL": "x"},
    )
    assert done.status == 2
    assert "redis.connections (DROPGATE_REDIS__CONNECTIONS)" in done.errors
    assert "DROPGATE_REDISURL" in done.errors


async def test_a_sale_is_run_from_the_command_line(up: Up, tmp_path: Path) -> None:
    sale = unique("shoes")
    file = tmp_path / f"{sale}.json"
    file.write_text(json.dumps(SPEC))
    ready = ("--ready-file", str(up.ready_path))

    async def sale_is(state: str, *arguments: str) -> None:
        done = await dropgate("sale", *arguments, *ready)
        assert done.status == 0, done.errors
        assert json.loads(done.output)["state"] == state

    await sale_is("draft", "create", str(file))
    await sale_is("draft", "show", sale)
    await sale_is("open", "open", sale)
    await sale_is("paused", "pause", sale)
    await sale_is("open", "resume", sale)
    for delta, available in (("5", 15), ("-3", 12)):
        done = await dropgate(
            *("stock", "adjust", sale, "shoe", delta, "--reason", "recount", *ready)
        )
        assert done.status == 0, done.errors
        shown = json.loads((await dropgate("sale", "show", sale, *ready)).output)
        assert shown["snapshot"]["items"][0]["available"] == available
    refused = await dropgate(
        *("stock", "adjust", sale, "shoe", "-13", "--reason", "too much", *ready)
    )
    assert refused.status == 1
    assert "floor_violation" in refused.errors
    assert "Next:" in refused.errors

    watched = await dropgate("top", sale, "--interval", "0.2", "--readings", "2", *ready)
    assert watched.status == 0, watched.errors
    readings = [json.loads(line) for line in watched.output.splitlines()]
    assert [reading["items"][0]["available"] for reading in readings] == [12, 12]
    listed = json.loads((await dropgate("sale", "list", *ready)).output)
    assert sale in {each["sale_id"] for each in listed["sales"]}
    letters = await dropgate("dead-letters", "list", *ready)
    assert json.loads(letters.output)["dead_letters"] == []

    reconciled = await dropgate("reconcile", sale, *ready)
    assert reconciled.status == 0, reconciled.errors
    assert json.loads(reconciled.output)["balanced"] is True
    planted = Redis.from_url(json.loads(up.ready_path.read_text())["redis"])
    await planted.hincrby(f"{{{sale}:0}}:stock", "shoe:default:available", 1)
    await planted.aclose()
    for arguments, status in (((), 1), (("--apply",), 0), ((), 0)):
        done = await dropgate("reconcile", sale, *arguments, *ready)
        assert done.status == status, (arguments, done.output)
    for name in ("expire", "reconcile", "trim"):
        done = await dropgate("duty", name, sale, *ready)
        assert done.status == 0, (name, done.errors)
    verified = await dropgate("verify", sale, "--json", *ready)
    assert verified.status == 0, verified.errors
    assert json.loads(verified.output)["holds"] is True
    await sale_is("closed", "close", sale)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    """Processes that do nothing for the life of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _opened(up: Up) -> str:
    """A new, open sale."""
    sale = unique("compared")
    file = up.folder / f"{sale}.json"
    file.write_text(json.dumps(SPEC))
    for arguments in (("create", str(file)), ("open", sale)):
        done = await dropgate("sale", *arguments, "--ready-file", str(up.ready_path))
        assert done.status == 0, done.errors
    return sale


def _reconciling(up: Up, sale: str) -> subprocess.Popen[str]:
    """`dropgate reconcile`, once it has said that the comparison goes on."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "config.cli", "reconcile", sale),
            *("--ready-file", str(up.ready_path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "goes on: waiting for its end" in line, line + process.stderr.read()
    return process


async def test_a_long_comparison_is_followed_joined_and_left_going(up: Up) -> None:
    sale = await _opened(up)
    with _stopped(up.ready.pids["reconciler"]):
        first, second = [await asyncio.to_thread(_reconciling, up, sale) for _ in range(2)]
        second.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(second.communicate, timeout=WAIT_SECONDS)
        assert second.returncode == 130, said
        assert f"dropgate reconcile {sale} joins it" in said
    output, said = await asyncio.to_thread(first.communicate, timeout=WAIT_SECONDS)
    assert first.returncode == 0, said
    answer = json.loads(output)
    assert (answer["status"], answer["balanced"]) == ("done", True)


@pytest.mark.parametrize("command", [("verify",), ("duty", "expire"), ("sale", "show")])
async def test_an_unknown_sale_is_named(up: Up, command: tuple[str, ...]) -> None:
    done = await dropgate(*command, "nowhere", "--ready-file", str(up.ready_path))
    assert done.status == 1
    assert "error:" in done.errors
    assert "Traceback" not in done.errors
    assert done.output == ""


@pytest.mark.parametrize("command", [("verify", "x"), ("duty", "expire", "x"), ("migrate",)])
async def test_a_missing_server_is_a_clear_error(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = await dropgate(
        *command,
        environment={
            "DROPGATE_REDIS__URL": f"redis://127.0.0.1:{free_port()}/0",
            "DROPGATE_POSTGRES__DSN": f"postgresql://127.0.0.1:{free_port()}/dropgate",
        },
        folder=tmp_path,
    )
    assert done.status == 1
    assert "dropgate up" in done.errors
    assert "Traceback" not in done.errors


@pytest.mark.parametrize("scope", ["buyer", "storefront", "ops"])
async def test_a_token_is_what_the_gateway_takes(up: Up, scope: str) -> None:
    done = await dropgate(
        *("token", "--scope", scope, "--sub", "ann", "--ttl", "60"),
        *("--ready-file", str(up.ready_path)),
    )
    ready = up.ready
    claims = jwt.decode(
        done.output.strip(), ready.auth_secret, algorithms=["HS256"], audience="dropgate"
    )
    assert claims["scope"] == scope
    assert claims["sub"] == "ann"
    assert claims["exp"] - claims["iat"] == 60
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{ready.gateway}/v1/sales/nowhere",
            headers={"Authorization": f"Bearer {done.output.strip()}"},
        ) as response,
    ):
        assert response.status == 404


async def test_errors_name_the_next_step(tmp_path: Path) -> None:
    nowhere = ("--ready-file", str(tmp_path / "absent.json"))
    no_token = await dropgate("sale", "show", "x", *nowhere)
    assert no_token.status == 1
    assert "--ready-file" in no_token.errors
    silent = await dropgate(
        *("sale", "show", "x", "--url", f"http://127.0.0.1:{free_port()}", "--token", "t", *nowhere)
    )
    assert silent.status == 1
    assert "dropgate up" in silent.errors
    no_secret = await dropgate("gateway")
    assert no_secret.status == 1
    assert "DROPGATE_AUTH__SECRET" in no_secret.errors
    no_kafka = await dropgate("relay")
    assert no_kafka.status == 1
    assert "DROPGATE_EVENT_LOG__KIND" in no_kafka.errors
    no_file = await dropgate("sale", "create", str(tmp_path / "absent.json"), *nowhere)
    assert no_file.status == 1
    assert "config/sales" in no_file.errors


async def test_migrate_is_safe_to_repeat(empty_postgres_dsn: str) -> None:
    environment = {"DROPGATE_POSTGRES__DSN": empty_postgres_dsn}
    first = await dropgate("migrate", environment=environment)
    assert first.status == 0, first.errors
    assert "0001" in first.output
    second = await dropgate("migrate", environment=environment)
    assert second.status == 0, second.errors
    assert "nothing to apply" in second.output


@contextmanager
def _running(settings: Settings, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **environment_of(settings)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "config.cli", *arguments],
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_gateway_workers_share_a_port_and_are_restarted(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "gateway.log"
    with _running(settings, log, "gateway", "--workers", "2") as process:
        parent = psutil.Process(process.pid)

        async def serves() -> bool:
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{settings.gateway.port}/livez") as response,
                ):
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await wait_until(serves, "the gateway serves")
        workers = {child.pid for child in parent.children()}
        assert len(workers) == 2
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)

        def replaced() -> bool:
            alive = {child.pid for child in parent.children()}
            return len(alive) == 2 and killed not in alive

        await wait_until(replaced, "the killed worker is replaced")
        await wait_until(serves, "the gateway serves again")
        children = parent.children()
        process.terminate()
        assert await asyncio.to_thread(process.wait, WAIT_SECONDS) == 0, log.read_text()
        assert not any(child.is_running() for child in children)
