"""`dropgate verify · duty`: tools beside the running system."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from config.commands.options import READY, Ready, Sale
from config.commands.shared import fail, output, servers_needed, settings_or_exit
from config.logs import configure_logs
from config.ready import ReadyFile
from config.settings import Settings

EXIT_BROKEN = 1


class Duty(StrEnum):
    """Duties of the reconciler that can be run by hand."""

    EXPIRE = "expire"
    RECONCILE = "reconcile"
    RECOVER = "recover"
    TRIM = "trim"


def verify(
    sale: Sale,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    ready_file: Ready = READY,
) -> None:
    """Check every invariant of a sale in Redis and ledger; exit status 1 if one does not hold."""
    from gateway.inventory.errors import Recovering
    from gateway.inventory.redis.primary import Primary
    from loadtest.verdict.ledger import UnknownSaleError
    from loadtest.verdict.run import Verdict, check_servers
    from loadtest.verdict.run import verify as run

    settings = with_ready_file(settings_or_exit(), ready_file)
    configure_logs(settings.log, "verify")

    async def judge() -> Verdict:
        primary = await Primary(settings.redis).locate()
        await check_servers(primary.url, settings.postgres.dsn)
        return await run(sale, redis_url=primary.url, dsn=settings.postgres.dsn)

    try:
        with servers_needed():
            verdict = asyncio.run(judge())
    except UnknownSaleError as error:
        fail(f"{error}; dropgate sale create makes a sale")
    except Recovering as error:
        fail(f"{error}; start a Sentinel, or correct redis.sentinels")
    if as_json:
        print(verdict.to_json().decode())
    else:
        output.print(verdict.table())
    raise typer.Exit(0 if verdict.holds else EXIT_BROKEN)


def duty(
    name: Annotated[Duty, typer.Argument(help="The duty.")],
    sale: Sale,
    ready_file: Ready = READY,
) -> None:
    """Run one duty of the reconciler once, for one sale."""
    from gateway.inventory.errors import InventoryError
    from reconciler.by_hand import run_once

    settings = with_ready_file(settings_or_exit(), ready_file)
    configure_logs(settings.log, "duty")
    try:
        with servers_needed():
            done = asyncio.run(run_once(settings, name.value, sale))
    except (ValueError, InventoryError) as error:
        fail(f"{error}; dropgate sale list shows the sales")
    print(done)


def with_ready_file(settings: Settings, ready_file: Path) -> Settings:
    """The settings with the addresses and secret of a running `dropgate up`, if there is one."""
    if not ready_file.exists():
        return settings
    try:
        ready = ReadyFile.read(ready_file)
    except msgspec.DecodeError as error:
        fail(f"{ready_file} is no ready file of dropgate up: {error}")
    event_log: dict[str, str] = {"kind": "kafka" if ready.kafka else "outbox"}
    if ready.kafka:
        event_log["bootstrap"] = ready.kafka
    return Settings.model_validate(
        {
            **settings.model_dump(),
            "redis": {**settings.redis.model_dump(), "url": ready.redis},
            "postgres": {**settings.postgres.model_dump(), "dsn": ready.postgres},
            "event_log": {**settings.event_log.model_dump(), **event_log},
            "auth": {**settings.auth.model_dump(), "secret": ready.auth_secret},
        }
    )
