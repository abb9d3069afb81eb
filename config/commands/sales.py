"""`dropgate sale …`, `stock adjust` and `reconcile`: operations, over the HTTP API."""

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from config.commands.shared import fail, output, settings_or_exit
from config.commands.up import DATA_FOLDER, READY_FILE

sale_app = typer.Typer(help="Sales: create, open, pause, resume, close, settle, show, accounting.")
stock_app = typer.Typer()


@stock_app.callback()
def _stock() -> None:
    """Stock of a running sale."""  # keeps `adjust` a subcommand although it is the only one


Url = Annotated[str | None, typer.Option(envvar="DROPGATE_URL", help="Address of the API.")]
Token = Annotated[str | None, typer.Option(envvar="DROPGATE_TOKEN", help="Token with scope ops.")]
Ready = Annotated[Path, typer.Option(help="Ready file of dropgate up, for address and token.")]
READY = DATA_FOLDER / READY_FILE
Sale = Annotated[str, typer.Argument(help="The sale's id.")]


def _call(
    api: tuple[str | None, str | None, Path],
    method: str,
    path: str,
    body: object = None,
    accept: str = "application/json",
) -> Any:
    from config.client import Api, ApiError

    url, token, ready_file = api
    content = None if body is None else msgspec.json.encode(body)
    try:
        found = Api.find(settings_or_exit(), url=url, token=token, ready_file=ready_file)
        return found.call(method, path, content, accept=accept)
    except ApiError as error:
        fail(str(error))


def _show(answer: object) -> None:
    output.print(msgspec.json.format(msgspec.json.encode(answer)).decode(), markup=False)


def _sale_path(sale: str, suffix: str = "") -> str:
    return f"/v1/sales/{quote(sale, safe='')}{suffix}"


@sale_app.command()
def create(
    file: Annotated[Path, typer.Argument(help="JSON body of PUT /v1/sales/SALE.")],
    sale: Annotated[
        str | None, typer.Option("--id", help="Sale id [default: file's name].")
    ] = None,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
) -> None:
    """Create a sale from a file, or replace it while it is a draft."""
    try:
        body = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}; examples are in config/sales")
    except msgspec.DecodeError as error:
        fail(f"{file} is not JSON: {error}; examples are in config/sales")
    _show(_call((url, token, ready_file), "PUT", _sale_path(sale or file.stem), body))


@sale_app.command()
def show(sale: Sale, url: Url = None, token: Token = None, ready_file: Ready = READY) -> None:
    """Show a sale and its counters."""
    api = (url, token, ready_file)
    shown = _call(api, "GET", _sale_path(sale))
    if isinstance(shown, dict) and shown.get("state") in {"open", "paused", "closed"}:
        shown = {**shown, "snapshot": _call(api, "GET", _sale_path(sale, "/snapshot"))}
    _show(shown)


def _transition(name: str, help_text: str) -> None:
    def command(
        sale: Sale, url: Url = None, token: Token = None, ready_file: Ready = READY
    ) -> None:
        _show(_call((url, token, ready_file), "POST", _sale_path(sale, f"/{name}")))

    sale_app.command(name, help=help_text)(command)


_transition("open", "Open a sale: reserves are accepted.")
_transition("pause", "Pause an open sale: no new reserves; confirm, cancel and expire go on.")
_transition("resume", "Resume a paused sale.")
_transition("close", "Close a sale: no new reserves, ever.")
_transition("settle", "Settle a closed sale: final accounting, and its Redis keys are removed.")


@sale_app.command()
def accounting(
    sale: Sale,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for another system.")] = False,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
) -> None:
    """Show what a settled sale came to, per SKU and location."""
    accept = "text/csv" if csv else "application/json"
    answer = _call((url, token, ready_file), "GET", _sale_path(sale, "/accounting"), accept=accept)
    if isinstance(answer, str):
        sys.stdout.write(answer)  # as it is: other programs read it
    else:
        _show(answer)


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
) -> None:
    """Add units to a running sale or take some out, never below the floor."""
    body: dict[str, object] = {"sku": sku, "delta": delta, "reason": reason}
    if location is not None:
        body["location"] = location
    _show(_call((url, token, ready_file), "POST", _sale_path(sale, "/stock-adjustments"), body))


def reconcile(
    sale: Sale,
    apply: Annotated[bool, typer.Option("--apply", help="Repair what differs.")] = False,
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
) -> None:
    """Compare Redis and the ledger at one sequence number; exit status 1 if they differ.

    With --apply, if they still differ.
    """
    answer = _call(
        (url, token, ready_file), "POST", _sale_path(sale, "/reconciliations"), {"apply": apply}
    )
    _show(answer)
    if not (isinstance(answer, dict) and _agree(answer)):
        raise typer.Exit(1)


def _agree(answer: dict[str, Any]) -> bool:
    """Whether Redis and the ledger are known to agree now."""
    if answer["balanced"]:
        return True
    return bool(answer["apply"]) and all(each["repaired"] for each in answer["differences"])
