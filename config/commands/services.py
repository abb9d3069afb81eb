"""`dropgate gateway · relay · order-writer · reconciler · migrate`: one process of each kind."""

import asyncio
import os
from typing import Annotated

import structlog
import typer

from config.commands.shared import fail, servers_needed, settings_or_exit
from config.logs import configure_logs
from config.runner import run_service
from config.settings import Settings
from config.sources import PREFIX, environment_of
from config.stack.process import Child, dropgate_command
from config.stack.supervisor import ProcessUnit, Supervisor

# The time a gateway worker has to answer the requests that it has accepted.
STOP_WORKER_SECONDS = 10.0

_log = structlog.get_logger()


def gateway(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Worker processes that share the port [default: gateway.workers]."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on [default: gateway.port]."),
    ] = None,
    slot: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the HTTP API; several workers are processes that share the port."""
    settings = settings_or_exit()
    changes: dict[str, int] = {}
    if workers is not None:
        changes["workers"] = workers
    if port is not None:
        changes["port"] = port
    if slot is not None:
        changes["worker_slot"] = slot
    settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update=changes)})
    if not settings.auth.hs256_keys and settings.auth.jwks is None:
        fail(
            "there is no key to verify tokens with: set DROPGATE_AUTH__SECRET to at least 32 bytes "
            "(openssl rand -hex 32 makes one), or DROPGATE_AUTH__JWKS to the public keys of the "
            "tokens' issuer"
        )
    if slot is None and settings.gateway.workers > 1:
        raise typer.Exit(run_service("gateway-supervisor", _supervise_workers, settings))
    from gateway.api.service import run

    raise typer.Exit(run_service("gateway", run, settings))


def relay() -> None:
    """Carry events from the outboxes to Kafka; needs event_log.kind = kafka."""
    settings = settings_or_exit()
    if settings.event_log.kind != "kafka":
        fail(
            "the event log is the outbox itself, so there is nothing to relay; "
            "set DROPGATE_EVENT_LOG__KIND=kafka to use Kafka"
        )
    from gateway.relay.service import run

    raise typer.Exit(run_service("relay", run, settings))


def order_writer() -> None:
    """Write events from the event log into the ledger."""
    settings = settings_or_exit()
    from order_writer.service import run

    raise typer.Exit(run_service("order-writer", run, settings))


def reconciler() -> None:
    """Run the duties: expire, compare, recover, trim, and the states of sales."""
    settings = settings_or_exit()
    from reconciler.service import run

    raise typer.Exit(run_service("reconciler", run, settings))


def migrate() -> None:
    """Bring the ledger's schema to the newest version, and make the topics of a Kafka event log.

    The command is safe at any time.
    """
    settings = settings_or_exit()
    from order_writer.schema import MigrationError
    from order_writer.schema import migrate as run

    configure_logs(settings.log, "migrate")
    try:
        with servers_needed():
            applied = asyncio.run(run(settings.postgres.dsn))
    except MigrationError as error:
        fail(str(error))
    if settings.event_log.kind == "kafka":
        _make_topics(settings)
    print("\n".join(applied) if applied else "nothing to apply: the schema is the newest")


def _make_topics(settings: Settings) -> None:
    from aiokafka.errors import KafkaError

    from config.stack.kafka import create_topics

    try:
        asyncio.run(create_topics(settings.event_log))
    except KafkaError as error:
        fail(
            f"Kafka at {settings.event_log.bootstrap} makes no topics ({error}): check "
            "event_log.bootstrap and event_log.replicas, and run it again"
        )


async def _supervise_workers(settings: Settings, stop: asyncio.Event) -> None:
    inherited = {
        variable: value for variable, value in os.environ.items() if not variable.startswith(PREFIX)
    }
    supervisor = Supervisor(lambda: _log.info("workers", action="supervise", **supervisor.pids()))
    await supervisor.start(
        [
            ProcessUnit(
                "gateway",
                Child(
                    dropgate_command("gateway", "--slot", str(slot)),
                    environment={**inherited, **environment_of(settings)},
                ),
                stop_timeout_seconds=STOP_WORKER_SECONDS,
            )
            for slot in range(settings.gateway.workers)
        ]
    )
    supervisor.keep()
    await stop.wait()
    await supervisor.stop()
