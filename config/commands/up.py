"""`dropgate up`: the local stack and all processes, until a signal stops them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from config.commands.options import DATA_FOLDER, READY_FILE, EventLogKind
from config.commands.shared import fail, output, settings_or_exit
from config.logs import configure_logs
from config.runner import stop_on_signals
from config.settings import Settings
from config.stack.folder import DataFolder
from config.stack.process import StackError
from config.up import LocalStack, UpOptions


def up(
    event_log: Annotated[
        EventLogKind | None,
        typer.Option(help="Read the outboxes directly, or Kafka [default: event_log.kind]."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Worker processes of the gateway [default: gateway.workers]."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the gateway; 0 takes a free port [default: gateway.port].",
        ),
    ] = None,
    demo_shop: Annotated[
        bool,
        typer.Option("--demo-shop", help="Let visitors of the storefront page buy without paying."),
    ] = False,
    data_dir: Annotated[
        Path, typer.Option(help="Folder of the servers' data and of all logs.")
    ] = DATA_FOLDER,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="File written when everything serves [default: DATA_DIR/ready.json]."),
    ] = None,
) -> None:
    """Run the local servers and every process; a process that dies is restarted within a second."""
    settings = settings_or_exit()
    configure_logs(settings.log, "up")
    options = UpOptions(
        event_log=event_log or settings.event_log.kind,
        workers=workers or settings.gateway.workers,
        port=settings.gateway.port if port is None else port,
        ready_file=(ready_file or data_dir / READY_FILE).absolute(),
        demo_shop=demo_shop,
    )
    try:
        raise typer.Exit(asyncio.run(_up(settings, data_dir, options)))
    except StackError as error:
        fail(str(error))


async def _up(settings: Settings, data_dir: Path, options: UpOptions) -> int:
    folder = await DataFolder.take(data_dir)
    options.ready_file.unlink(missing_ok=True)
    stack = LocalStack(settings, folder, options)
    stop = stop_on_signals()
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _announce(stack)
            await stop.wait()
    finally:
        stopping.cancel()
        starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await stack.stop()
        folder.release()
    return 0


def _announce(stack: LocalStack) -> None:
    ready = stack.ready_file()
    lines = [
        "dropgate is serving",
        f"  gateway   {ready.gateway}",
        f"  pages     {ready.gateway}/ (storefront), {ready.gateway}/ops, {ready.gateway}/docs",
        f"  redis     {ready.redis}",
        f"  postgres  {ready.postgres}",
        *([f"  kafka     {ready.kafka}"] if ready.kafka else []),
        f"  logs      {stack.folder.logs}",
        f"  ready     {stack.options.ready_file}",
        "Ctrl-C stops everything.",
    ]
    output.print("\n".join(lines), markup=False)
