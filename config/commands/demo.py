"""`dropgate demo`: the whole system on this machine, simulated drops, the verdict, then play."""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from config.client import Api, ApiError, make_token
from config.commands.options import EventLogKind
from config.commands.own_up import OwnUp
from config.commands.shared import fail, output, settings_or_exit
from config.ready import ReadyFile
from config.runner import stop_on_signals
from config.stack.process import StackError

SALES = Path(__file__).parent.parent / "sales"
WORKERS = 2
TOKEN_LIFE_SECONDS = 24 * 3600
PLAY_SALE = "example"
PLAY_BUYER = "you"
# The simulated buyers share the machine with the gateways: that alone must not slow the room.
DEMO_SETTINGS = {"DROPGATE_WAITING_ROOM__QUICK_MILLISECONDS": "1000"}
# The status of a demo with --once that a signal ended before its verdict, as shells have it.
EXIT_INTERRUPTED = 130


def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="End after the verdict, with status 0 if every invariant held."
        ),
    ] = False,
    event_log: Annotated[
        EventLogKind, typer.Option(help="Read the outboxes directly, or Kafka.")
    ] = EventLogKind.OUTBOX,
    buyers: Annotated[int, typer.Option(min=1, help="Number of simulated buyers.")] = 20_000,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the servers' data and logs [default: temporary]."),
    ] = None,
) -> None:
    """Simulate two drops on real servers and judge them; then serve a sale until Ctrl-C."""
    settings_or_exit()
    folder = data_dir or Path(tempfile.mkdtemp(prefix="dropgate-demo-"))
    try:
        status = uvloop.run(_demo(folder, event_log, buyers=buyers, once=once))
    except StackError as error:
        fail(str(error))
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(status)


async def _demo(folder: Path, event_log: EventLogKind, *, buyers: int, once: bool) -> int:
    up = OwnUp(
        folder,
        folder / "ready.json",
        *("--workers", str(WORKERS), "--event-log", event_log.value, "--demo-shop"),
        environment={**DEMO_SETTINGS, **os.environ},
    )
    stopping = asyncio.create_task(stop_on_signals().wait())
    servers = "Redis, PostgreSQL" + (" and Kafka" if event_log is EventLogKind.KAFKA else "")
    output.print(f"Starting {servers} and {WORKERS} gateway workers in {folder} …", markup=False)
    up.start()
    working = asyncio.create_task(_work(up, buyers=buyers, once=once))
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return EXIT_INTERRUPTED if once else 0  # without `once` a signal is the way to end it
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
        output.print("Stopping …")
        await up.stop()


async def _work(up: OwnUp, *, buyers: int, once: bool) -> int:
    """Wait for the system, run the drops, and without `once` serve forever."""
    from loadtest.client.calls import RefusedError
    from loadtest.drop.demo import run_demo

    started_at = time.monotonic()
    ready = await up.wait_serving()
    seconds = time.monotonic() - started_at
    output.print(f"Serving on {ready.gateway} after {seconds:.1f} s.", markup=False)
    try:
        status = await run_demo(
            gateway_url=ready.gateway,
            redis_url=ready.redis,
            postgres_dsn=ready.postgres,
            auth_secret=ready.auth_secret,
            sale_file=SALES / "demo.json",
            buyers=buyers,
            console=output,
        )
    except (RefusedError, TimeoutError) as error:
        raise StackError(
            f"the drop did not finish: {error!r}; run again with --data-dir to keep the logs"
        ) from error
    if not once:
        await asyncio.to_thread(_print_play, ready)
        await asyncio.Event().wait()
    return status


def _print_play(ready: ReadyFile) -> None:
    """Open a sale to play with, and print a curl line for each call."""
    tokens = {
        scope: make_token(
            ready.auth_secret,
            scope=scope,
            subject=PLAY_BUYER if scope == "buyer" else "demo",
            audience="dropgate",
            life_seconds=TOKEN_LIFE_SECONDS,
        )
        for scope in ("buyer", "storefront", "ops")
    }
    sale = f"/v1/sales/{PLAY_SALE}"
    ops = Api(ready.gateway, tokens["ops"])
    try:
        try:
            ops.call("PUT", sale, (SALES / f"{PLAY_SALE}.json").read_bytes())
        except ApiError as error:
            if error.code != "invalid_state":  # it is open already, from an earlier demo
                raise
        ops.call("POST", f"{sale}/open")
    except ApiError as error:
        raise StackError(f"the sale to play with could not be opened: {error}") from error
    names = "\n".join(f"{scope.upper()}={value}" for scope, value in tokens.items())
    calls = (Path(__file__).with_name("calls.txt")).read_text().replace("SALE", PLAY_SALE)
    print(
        f"\nStill serving. The sale {PLAY_SALE} is open for you; paste these names first:\n\n"
        f"URL={ready.gateway}\n{names}\n\n{calls}\n"
        f"Pages: {ready.gateway}/?sale={PLAY_SALE} (buy, without paying), "
        f"{ready.gateway}/ops (paste $OPS), {ready.gateway}/docs (API), {ready.gateway}/metrics\n"
        "Ctrl-C stops everything.",
        flush=True,
    )
