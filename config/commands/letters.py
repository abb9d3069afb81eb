"""`dropgate dead-letters …`: events that could not be applied to the ledger."""

from typing import Annotated

import typer

from config.commands.api import READY, AsJson, Ready, Token, Url, call
from config.commands.views import dead_letters_view, show

letters_app = typer.Typer(help="Events that could not be applied: list, replay.")


@letters_app.command("list")
def list_letters(
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """List the newest events that could not be applied to the ledger."""
    letters = call((url, token, ready_file), "GET", "/v1/dead-letters")
    show(letters, dead_letters_view, as_json=as_json)


@letters_app.command()
def replay(
    letter: Annotated[int, typer.Argument(help="Its id, from dropgate dead-letters list.")],
    url: Url = None,
    token: Token = None,
    ready_file: Ready = READY,
    as_json: AsJson = False,
) -> None:
    """Apply one of them, after what it failed of is mended."""
    path = f"/v1/dead-letters/{letter}/replay"
    done = call((url, token, ready_file), "POST", path)
    show({"dead_letters": [done]}, dead_letters_view, as_json=as_json)
