"""`dropgate sale …`, `stock adjust` and `reconcile`: operations, over the HTTP API."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from config.commands.api import (
    READY,
    AsJson,
    Ready,
    Sale,
    Token,
    Url,
    call,
    sale_command,
    sale_path,
)
from config.commands.shared import fail
from config.commands.views import (
    accounting_view,
    adjustment_view,
    reconciliation_view,
    sale_view,
    sales_view,
    show,
)

sale_app = typer.Typer(
    help="Sales: create, list, open, pause, resume, close, settle, show, accounting."
)
stock_app = typer.Typer()


@stock_app.callback()
def _stock() -> None:
    """Stock of a running sale."""  # keeps `adjust` a subcommand although it is the only one


@sale_app.command()
def create(
    file: Annotated[Path, typer.Argument(help="JSON body of PUT /v1/sales/SALE.")],
    sale: Annotated[
        str | None, typer.Option("--id", help="Sale id [default: file's name].")
    ] = None,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Create a sale from a file, or replace it while it is a draft."""
    try:
        body = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}; examples are in config/sales")
    except msgspec.DecodeError as error:
        fail(f"{file} is not JSON: {error}; examples are in config/sales")
    made = call((url, token, ready_file), "PUT", sale_path(sale or file.stem), body)
    show(made, sale_view, as_json=as_json)


@sale_app.command("list")
def list_sales(
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """List the newest sales."""
    show(call((url, token, ready_file), "GET", "/v1/sales"), sales_view, as_json=as_json)


@sale_app.command("show")
def show_sale(
    sale: Sale,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Show a sale and its counters."""
    api = (url, token, ready_file)
    shown = call(api, "GET", sale_path(sale))
    if isinstance(shown, dict) and shown.get("state") in {"open", "paused", "closed"}:
        shown = {**shown, "snapshot": call(api, "GET", sale_path(sale, "/snapshot"))}
    show(shown, sale_view, as_json=as_json)


for _name, _help in (
    ("open", "Open a sale: reserves are accepted."),
    ("pause", "Pause an open sale: no new reserves; confirm, cancel and expire go on."),
    ("resume", "Resume a paused sale."),
    ("close", "Close a sale: no new reserves, ever."),
    ("settle", "Settle a closed sale: final accounting, and its Redis keys are removed."),
):
    sale_command(sale_app, _name, ("POST", f"/{_name}"), sale_view, _help)


@sale_app.command()
def accounting(
    sale: Sale,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for another system.")] = False,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Show what a settled sale came to, per SKU and location."""
    accept = "text/csv" if csv else "application/json"
    answer = call((url, token, ready_file), "GET", sale_path(sale, "/accounting"), accept=accept)
    if isinstance(answer, str):
        sys.stdout.write(answer)  # as it is: other programs read it
    else:
        show(answer, accounting_view, as_json=as_json)


# A negative DELTA is a number, not an option.
@stock_app.command(context_settings={"ignore_unknown_options": True})
def adjust(
    sale: Sale,
    sku: Annotated[str, typer.Argument(help="The item.")],
    delta: Annotated[int, typer.Argument(help="Units to add, or to take with a minus sign.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    location: Annotated[str | None, typer.Option(help="Which location's stock.")] = None,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Add units to a running sale or take some out, never below the floor."""
    body: dict[str, object] = {"sku": sku, "delta": delta, "reason": reason}
    if location is not None:
        body["location"] = location
    path = sale_path(sale, "/stock-adjustments")
    show(call((url, token, ready_file), "POST", path, body), adjustment_view, as_json=as_json)


def reconcile(
    sale: Sale,
    apply: Annotated[bool, typer.Option("--apply", help="Repair what differs.")] = False,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Compare Redis and the ledger at one sequence number; exit status 1 if they differ.

    With --apply, if they still differ.
    """
    answer = call(
        (url, token, ready_file), "POST", sale_path(sale, "/reconciliations"), {"apply": apply}
    )
    show(answer, reconciliation_view, as_json=as_json)
    if not (isinstance(answer, dict) and _agree(answer)):
        raise typer.Exit(1)


def _agree(answer: dict[str, Any]) -> bool:
    """Whether Redis and the ledger are known to agree now."""
    if answer["balanced"]:
        return True
    return bool(answer["apply"]) and all(each["repaired"] for each in answer["differences"])
