"""The `dropgate` command: the wiring at the top. Nobody imports it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from config.commands import configuration, services, tokens, tools
from config.commands.demo import demo
from config.commands.loadtest import loadtest
from config.commands.operations import sales
from config.commands.operations.dead_letters import letters_app
from config.commands.operations.queue import queue_app
from config.commands.operations.top import top
from config.commands.up import up
from config.sources import CONFIG_VARIABLE

app = typer.Typer(
    name="dropgate",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def dropgate(
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings.", envvar=CONFIG_VARIABLE)
    ] = None,
) -> None:
    """Reserve limited stock: each unit is promised once, and it can be proved."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)


app.command()(demo)
app.command()(up)
app.command()(services.gateway)
app.command()(services.relay)
app.command("order-writer")(services.order_writer)
app.command()(services.reconciler)
app.command()(services.migrate)
app.add_typer(sales.sale_app, name="sale", no_args_is_help=True)
app.add_typer(sales.stock_app, name="stock", no_args_is_help=True)
app.command()(sales.reconcile)
app.add_typer(queue_app, name="queue", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters", no_args_is_help=True)
app.command()(top)
app.command()(tools.verify)
app.command()(tools.duty)
app.command()(tokens.token)
app.command()(tokens.jwks)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(loadtest)
app.add_typer(configuration.app, name="config")


def main() -> None:
    """Run the command line."""
    app(prog_name="dropgate")


if __name__ == "__main__":
    main()
