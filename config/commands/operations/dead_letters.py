"""`dropgate dead-letters …`: events that could not be applied to the ledger."""

from typing import Annotated

import typer

from config.commands.operations.caller import ShowingCaller, over_api
from config.commands.operations.views import dead_letters_view

letters_app = typer.Typer(help="Events that could not be applied: list, replay.")


@letters_app.command("list")
@over_api
def list_letters(
    api: ShowingCaller,
) -> None:
    """List the newest events that could not be applied to the ledger."""
    api.show(api.call("GET", "/v1/dead-letters"), dead_letters_view)


@letters_app.command()
@over_api
def replay(
    api: ShowingCaller,
    letter: Annotated[
        int, typer.Argument(help="Id of the dead letter, from dropgate dead-letters list.")
    ],
) -> None:
    """Apply an event that was set aside, once the cause of its failure is mended."""
    done = api.call("POST", f"/v1/dead-letters/{letter}/replay")
    api.show({"dead_letters": [done]}, dead_letters_view)
