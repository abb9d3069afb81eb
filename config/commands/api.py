"""What the commands over the HTTP API have in common: where it is, the token, one call."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from config.commands.shared import fail, settings_or_exit
from config.commands.up import DATA_FOLDER, READY_FILE
from config.commands.views import View, show

Url = Annotated[str | None, typer.Option(envvar="DROPGATE_URL", help="Address of the API.")]
Token = Annotated[str | None, typer.Option(envvar="DROPGATE_TOKEN", help="Token with scope ops.")]
Ready = Annotated[Path, typer.Option(help="Ready file of dropgate up, for address and token.")]
READY = DATA_FOLDER / READY_FILE
Sale = Annotated[str, typer.Argument(help="The sale's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, also on a terminal.")]


def call(
    api: tuple[str | None, str | None, Path],
    method: str,
    path: str,
    body: object = None,
    accept: str = "application/json",
) -> Any:
    """The answer; an error ends the command with the next step. `api`: address, token, ready file,
    the first two None where they are to be found.
    """
    from config.client import Api, ApiError

    url, token, ready_file = api
    content = None if body is None else msgspec.json.encode(body)
    try:
        found = Api.find(settings_or_exit(), url=url, token=token, ready_file=ready_file)
        return found.call(method, path, content, accept=accept)
    except ApiError as error:
        fail(str(error))


def sale_path(sale: str, suffix: str = "") -> str:
    """The path of a sale, or of something of it."""
    return f"/v1/sales/{quote(sale, safe='')}{suffix}"


def sale_command(
    app: typer.Typer, name: str, request: tuple[str, str], view: View, help_text: str
) -> None:
    """Add a command of one sale that sends no body, its answer shown by `view`. `request`: method,
    and the path behind the sale's.
    """
    method, suffix = request

    def command(
        sale: Sale,
        url: Url = None,
        token: Token = None,
        ready_file: Ready = READY,
        as_json: AsJson = False,
    ) -> None:
        show(call((url, token, ready_file), method, sale_path(sale, suffix)), view, as_json=as_json)

    app.command(name, help=help_text)(command)
