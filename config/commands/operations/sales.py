"""`dropgate sale …`, `stock adjust` and `reconcile`: operations, over the HTTP API."""

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import typer

from config.commands.operations.caller import (
    ShowingCaller,
    over_api,
    sale_command,
    sale_path,
)
from config.commands.operations.comparing import reconciled
from config.commands.operations.views import (
    accounting_view,
    adjustment_view,
    reconciliation_view,
    sale_view,
    sales_view,
)
from config.commands.options import Sale
from config.commands.shared import fail

sale_app = typer.Typer(
    help="Sales: create, list, open, pause, resume, close, settle, show, accounting."
)
stock_app = typer.Typer()


@stock_app.callback()
def _stock() -> None:
    """Stock of a running sale."""  # keeps `adjust` a subcommand, although there is no other


@sale_app.command()
@over_api
def create(
    api: ShowingCaller,
    file: Annotated[
        Path, typer.Argument(help="JSON body of PUT /v1/sales/SALE; examples: config/sales.")
    ],
    sale: Annotated[
        str | None, typer.Option("--id", help="The sale's id [default: the file's name].")
    ] = None,
) -> None:
    """Create a sale from a file, or replace it while it is a draft."""
    try:
        body = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}; examples are in config/sales")
    except msgspec.DecodeError as error:
        fail(f"{file} is not JSON: {error}; examples are in config/sales")
    made = api.call("PUT", sale_path(sale or file.stem), body)
    api.show(made, sale_view)


@sale_app.command("list")
@over_api
def list_sales(
    api: ShowingCaller,
) -> None:
    """List the newest sales with their states."""
    api.show(api.call("GET", "/v1/sales"), sales_view)


@sale_app.command("show")
@over_api
def show_sale(
    api: ShowingCaller,
    sale: Sale,
) -> None:
    """Show a sale, with its counters once it is open."""
    shown = api.call("GET", sale_path(sale))
    if isinstance(shown, dict) and shown.get("state") in {"open", "paused", "closed"}:
        shown = {**shown, "snapshot": api.call("GET", sale_path(sale, "/snapshot"))}
    api.show(shown, sale_view)


for _name, _help in (
    ("open", "Open a sale: reserves are accepted."),
    ("pause", "Pause an open sale: no new reserves; confirm, cancel and expire go on."),
    ("resume", "Resume a paused sale."),
    ("close", "Close a sale: no new reserves, ever."),
    ("settle", "Settle a closed sale: final accounting, and its Redis keys are removed."),
):
    sale_command(sale_app, _name, ("POST", f"/{_name}"), sale_view, _help)


@sale_app.command()
@over_api
def accounting(
    api: ShowingCaller,
    sale: Sale,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for another system.")] = False,
) -> None:
    """Show the final accounting of a settled sale, per SKU and location."""
    accept = "text/csv" if csv else "application/json"
    answer = api.call("GET", sale_path(sale, "/accounting"), accept=accept)
    if isinstance(answer, str):
        sys.stdout.write(answer)  # as it is: other programs read it
    else:
        api.show(answer, accounting_view)


# A negative DELTA is a number, not an option.
@stock_app.command(context_settings={"ignore_unknown_options": True})
@over_api
def adjust(
    api: ShowingCaller,
    sale: Sale,
    sku: Annotated[str, typer.Argument(help="SKU of the item.")],
    delta: Annotated[int, typer.Argument(help="Units to add; a negative number takes units out.")],
    reason: Annotated[str, typer.Option(help="Reason; kept in the audit log.")],
    location: Annotated[str | None, typer.Option(help="Location of the stock.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Idempotency-Key of an earlier call, to repeat that call."),
    ] = None,
) -> None:
    """Add units to a running sale or take some out, never below the floor.

    Where the outcome is unknown, the error names the key with which the call can be repeated: it
    takes effect once.
    """
    body: dict[str, object] = {"sku": sku, "delta": delta, "reason": reason}
    if location is not None:
        body["location"] = location
    path = sale_path(sale, "/stock-adjustments")
    answer = api.call("POST", path, body, key=key or str(uuid4()))
    api.show(answer, adjustment_view)


@over_api
def reconcile(
    api: ShowingCaller,
    sale: Sale,
    apply: Annotated[bool, typer.Option("--apply", help="Repair Redis from the ledger.")] = False,
) -> None:
    """Compare Redis with the ledger at one sequence number; exit status 1 if they differ.

    With --apply, exit status 1 means that a difference is left after the repair. A comparison that
    takes long is shown as it goes on, and joined where one is under way; Ctrl-C leaves it going.
    """
    answer = reconciled(api, sale, apply=apply)
    api.show(answer, reconciliation_view)
    if not _agree(answer):
        raise typer.Exit(1)


def _agree(answer: dict[str, Any]) -> bool:
    """Whether Redis and the ledger are known to agree now."""
    if answer["balanced"]:
        return True
    return bool(answer["apply"]) and all(each["repaired"] for each in answer["differences"])
